package fleet

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"gorm.io/gorm/clause"

	"restic-manager/server/database"
)

// KeySize is the length of the encryption key in bytes.
const KeySize = 32

// keyID is the first byte of everything sealed: it names the key, so that a later one can be told from it.
const keyID = 1

// sealer encrypts what must not be readable in the database, with AES-256-GCM and a key that is not in it.
type sealer struct {
	aead        cipher.AEAD
	fingerprint string
}

// newSealer derives its keys from the installation's one (RFC 5869), so that the fingerprint tells nothing
// of what seals.
func newSealer(key []byte) (*sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the encryption key has %d bytes; give %d", len(key), KeySize)
	}
	sealing, err := hkdf.Key(sha256.New, key, nil, "restic-manager seal 1", KeySize)
	if err != nil {
		return nil, err
	}
	fingerprint, err := hkdf.Key(sha256.New, key, nil, "restic-manager fingerprint 1", 16)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, fingerprint: hex.EncodeToString(fingerprint)}, nil
}

// place is where a sealed value lives; it is bound to the value, which opens nowhere else.
type place struct{ table, row, column string }

func (p place) bytes() []byte {
	return []byte("restic-manager\x00" + p.table + "\x00" + p.row + "\x00" + p.column)
}

func (s *sealer) seal(at place, plain []byte) []byte {
	return s.aead.Seal([]byte{keyID}, nil, plain, at.bytes())
}

// open is an error for a value of another place or key, or a changed one.
func (s *sealer) open(at place, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != keyID {
		return nil, fmt.Errorf("open %s.%s: sealed by a key this server does not have", at.table, at.column)
	}
	plain, err := s.aead.Open(nil, nil, sealed[1:], at.bytes())
	if err != nil {
		return nil, fmt.Errorf("open %s.%s of %s: %w", at.table, at.column, at.row, err)
	}
	return plain, nil
}

// Seal encrypts what belongs into a column of a row, for rooms beside this one; it opens nowhere else.
func (s *Store) Seal(table, row, column string, plain []byte) []byte {
	return s.content.sealer.seal(place{table, row, column}, plain)
}

// Unseal is Seal's counterpart; an error for a value of another place or key, or a changed one.
func (s *Store) Unseal(table, row, column string, sealed []byte) ([]byte, error) {
	return s.content.sealer.open(place{table, row, column}, sealed)
}

const fingerprintKey = "encryption_key_fingerprint"

// checkKey compares the encryption key with the one the database was first opened with, and takes it down
// at the very first time.
func (s *Store) checkKey(ctx context.Context) error {
	sealer, err := newSealer(s.key)
	if err != nil {
		return err
	}
	var known string
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		row := map[string]any{"key": fingerprintKey, "value": sealer.fingerprint}
		if err := tx.Table("server_state").Clauses(clause.OnConflict{DoNothing: true}).Create(row).Error; err != nil {
			return err
		}
		return tx.Raw("SELECT value FROM server_state WHERE key = ?", fingerprintKey).Scan(&known).Error
	})
	if err != nil {
		return fmt.Errorf("check the encryption key: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(known), []byte(sealer.fingerprint)) != 1 {
		return errors.New("the encryption key is not the one this database was made with: the repository passwords in it " +
			"cannot be opened. Give the key that was used before, from the data folder or the secret store of the first server")
	}
	s.content.sealer = sealer
	return nil
}
