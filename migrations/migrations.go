// Package migrations is the schema of the database.
package migrations

import _ "github.com/pressly/goose/v3"
