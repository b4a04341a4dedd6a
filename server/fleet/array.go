package fleet

import (
	"database/sql/driver"
	"strings"
	"time"
)

// textArray and timeArray are PostgreSQL arrays as one argument; gorm would write a slice out as a list of
// arguments. The zero time is NULL. Source: PostgreSQL manual, "Array Input and Output Syntax".
type (
	textArray []string
	timeArray []time.Time
)

var arrayEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Value is the array's literal.
func (a textArray) Value() (driver.Value, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		arrayEscapes.WriteString(&b, s)
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String(), nil
}

// Value is the array's literal.
func (a timeArray) Value() (driver.Value, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, t := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		if t.IsZero() {
			b.WriteString("NULL")
			continue
		}
		b.WriteByte('"')
		b.WriteString(t.UTC().Format("2006-01-02T15:04:05.999999Z"))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String(), nil
}

// array is a slice as one argument, which the PostgreSQL driver encodes by itself.
type array[T any] []T

// Value is the slice.
func (a array[T]) Value() (driver.Value, error) { return []T(a), nil }
