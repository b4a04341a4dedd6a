package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"restic-manager/server/config"
)

// certificate is the pair that HTTPS is served with; it can be exchanged while serving.
type certificate struct {
	certFile, keyFile string
	pair              atomic.Pointer[tls.Certificate]
}

func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.reload(); err != nil {
		return nil, config.Errorf("%v", err)
	}
	return c, nil
}

// reload reads the files again; after an error the old pair stays.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&pair)
	return nil
}

// current is the pair that new connections get.
func (c *certificate) current() *tls.Certificate { return c.pair.Load() }

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}
