package transfer

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"restic-manager/server/database"
)

// scan reads the current row: nil, string, int64, bool, float64, time.Time in UTC, or []byte for each column.
func scan(rows *sql.Rows, columns []column) ([]any, error) {
	holders := make([]any, len(columns))
	for i, c := range columns {
		switch c.kind {
		case text:
			holders[i] = new(sql.NullString)
		case integer:
			holders[i] = new(sql.NullInt64)
		case boolean:
			holders[i] = new(sql.NullBool)
		case number:
			holders[i] = new(sql.NullFloat64)
		case moment:
			holders[i] = new(sql.NullTime)
		case blob:
			holders[i] = new([]byte)
		}
	}
	if err := rows.Scan(holders...); err != nil {
		return nil, err
	}
	row := make([]any, len(columns))
	for i, h := range holders {
		switch v := h.(type) {
		case *sql.NullString:
			row[i] = orNil(v.Valid, v.String)
		case *sql.NullInt64:
			row[i] = orNil(v.Valid, v.Int64)
		case *sql.NullBool:
			row[i] = orNil(v.Valid, v.Bool)
		case *sql.NullFloat64:
			row[i] = orNil(v.Valid, v.Float64)
		case *sql.NullTime:
			row[i] = orNil(v.Valid, database.Truncate(v.Time))
		case *[]byte:
			row[i] = orNil(*v != nil, *v)
			if *v == nil && !columns[i].nullable {
				row[i] = []byte{} // SQLite's driver makes nil of none
			}
		}
	}
	return row, nil
}

func orNil[T any](valid bool, v T) any {
	if !valid {
		return nil
	}
	return v
}

// encode is a row in its one form: two rows have the same only where all their values are the same.
func encode(form []byte, row []any) []byte {
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			form = append(form, 0)
		case string:
			form = binary.AppendUvarint(append(form, 1), uint64(len(v)))
			form = append(form, v...)
		case int64:
			form = binary.BigEndian.AppendUint64(append(form, 2), uint64(v))
		case bool:
			form = append(form, 3)
			if v {
				form = append(form, 1)
			} else {
				form = append(form, 0)
			}
		case float64:
			form = binary.BigEndian.AppendUint64(append(form, 4), math.Float64bits(v))
		case time.Time:
			form = binary.BigEndian.AppendUint64(append(form, 5), uint64(v.UnixMicro()))
		case []byte:
			form = binary.AppendUvarint(append(form, 6), uint64(len(v)))
			form = append(form, v...)
		default:
			panic(fmt.Sprintf("transfer: a value of type %T", v)) // scan makes no other
		}
	}
	return form
}
