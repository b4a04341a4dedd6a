package access

import (
	_ "embed"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"restic-manager/server/fault"
)

// The length of a password, in characters (OWASP ASVS 5.0, 6.2.1 and 6.2.9).
const (
	MinPassword = 12
	MaxPassword = 128
)

//go:embed common.txt
var commonFile string

// common holds words and strings that guessers try first; lines of common.txt, lower case.
var common = func() map[string]bool {
	m := map[string]bool{}
	for line := range strings.Lines(commonFile) {
		m[strings.TrimSpace(line)] = true
	}
	delete(m, "")
	return m
}()

var usernames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

// CheckUsername says what is wrong with a name.
func CheckUsername(name string) error {
	if !usernames.MatchString(name) {
		return fault.Invalidf("A user name has 1 to 64 letters, digits or . _ @ + - and begins with a letter or digit.")
	}
	return nil
}

// usernameKey is the form in which names are compared.
func usernameKey(name string) string { return strings.ToLower(name) }

// CheckPassword says what is wrong with a new password of that user. There are no rules on kinds of
// characters (ASVS 6.2.5): length, and not what everybody tries.
func CheckPassword(username, password string) error {
	if !utf8.ValidString(password) {
		return fault.Invalidf("The password is not valid text (UTF-8).")
	}
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return fault.Invalidf("The password is too short: use %d characters or more, for example four unusual words.", MinPassword)
	case n > MaxPassword:
		return fault.Invalidf("The password is too long: use %d characters at most.", MaxPassword)
	}
	if guessable(username, password) {
		return fault.Invalidf("That password is among the first that guessers try. Use four unusual words, or let a password manager make one.")
	}
	return nil
}

func guessable(username, password string) bool {
	p := strings.ToLower(password)
	user := strings.ToLower(username)
	plain := unleet(p)
	for _, form := range []string{p, core(p), unleet(core(p)), plain, core(plain), letters(p)} {
		if common[form] || form == user || repeats(form, user) {
			return true
		}
	}
	return monotonous(p)
}

// unleet undoes the usual replacements of letters.
func unleet(p string) string {
	return strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i").Replace(p)
}

// core is what is left without the digits and signs that people put around a word.
func core(p string) string {
	return strings.TrimFunc(p, func(r rune) bool { return !unicode.IsLetter(r) })
}

// letters is what is left without everything else.
func letters(p string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, p)
}

// repeats reports whether p is one common word, the user's name, or one short piece over and over.
func repeats(p, user string) bool {
	for size := 1; size <= len(p)/2; size++ {
		if len(p)%size == 0 && strings.Repeat(p[:size], len(p)/size) == p {
			return size <= 4 || common[p[:size]] || p[:size] == user
		}
	}
	return false
}

// monotonous reports whether nearly every character follows from the one before: aaaa, 1234, 9876, or a
// row of the keyboard.
func monotonous(p string) bool {
	rows := []string{"qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiopü", "azertyuiop"}
	runes := []rune(p)
	steps := 0
	for i := 1; i < len(runes); i++ {
		d := runes[i] - runes[i-1]
		pair := string(runes[i-1 : i+1])
		next := d >= -1 && d <= 1 || pair == "90" || pair == "09"
		for _, row := range rows {
			next = next || strings.Contains(row, pair)
		}
		if next {
			steps++
		}
	}
	return steps*10 >= (len(runes)-1)*8
}
