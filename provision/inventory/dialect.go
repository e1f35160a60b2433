package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pressly/goose/v3"
)

// A dialect is what the two databases do not have in common. All statements are
// written once, with parameters $1, $2 …, and the words of these functions.
type dialect struct {
	goose goose.Dialect
	// versions is goose's own table.
	versions string
	// group is how many rows one bulk statement takes; 0 is any number.
	group int
	// rows gives n rows of parameters of these kinds, for a bulk statement; args
	// gives the parameters.
	rows func(kinds string, n int) string
	args func(kinds string, rows [][]any) ([]any, error)
	// among gives the elements of a list, the nth parameter, as a subquery; list
	// gives that parameter.
	among func(n int, kind byte) string
	list  func(values any) (any, error)
	// quiet gives the context for a statement that is one of many quick ones.
	quiet func(context.Context) context.Context
}

// The kinds of columns that rows may have.
const (
	kindText    = 't'
	kindInteger = 'i' // int64
	kindBlob    = 'b'
)

// sqliteGroup is how many rows are worth one statement: beyond, preparing it
// costs more than is won.
const sqliteGroup = 16

func sqliteDialect() dialect {
	return dialect{
		goose:    goose.DialectSQLite3,
		versions: goose.DefaultTablename,
		group:    sqliteGroup,
		rows: func(kinds string, n int) string {
			row := "(" + strings.TrimSuffix(strings.Repeat("?,", len(kinds)), ",") + ")"
			return "VALUES " + strings.TrimSuffix(strings.Repeat(row+",", n), ",")
		},
		args: func(kinds string, rows [][]any) ([]any, error) {
			args := make([]any, 0, len(kinds)*len(rows))
			for _, row := range rows {
				args = append(args, row...)
			}
			return args, nil
		},
		among: func(n int, _ byte) string { return fmt.Sprintf("(SELECT value FROM json_each($%d))", n) },
		list: func(values any) (any, error) {
			data, err := json.Marshal(values)
			return string(data), err
		},
		// The driver starts a goroutine for each statement whose context can end.
		quiet: context.WithoutCancel,
	}
}

// postgresSchema is where the tables are, unless the URL says otherwise: the
// database may be another program's as well.
const postgresSchema = "tbcert"

func postgresDialect() dialect {
	return dialect{
		goose:    goose.DialectPostgres,
		versions: "tbcert_schema",
		rows: func(kinds string, _ int) string {
			arrays := make([]string, len(kinds))
			for i, kind := range []byte(kinds) {
				arrays[i] = "$" + strconv.Itoa(i+1) + "::" + postgresType(kind) + "[]"
			}
			return "SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ")"
		},
		args: columnsOf,
		among: func(n int, kind byte) string {
			return fmt.Sprintf("(SELECT unnest($%d::%s[]))", n, postgresType(kind))
		},
		list:  func(values any) (any, error) { return values, nil },
		quiet: func(ctx context.Context) context.Context { return ctx },
	}
}

func postgresType(kind byte) string {
	switch kind {
	case kindInteger:
		return "bigint"
	case kindBlob:
		return "bytea"
	default:
		return "text"
	}
}

// columnsOf turns rows into columns: an array for each.
func columnsOf(kinds string, rows [][]any) ([]any, error) {
	args := make([]any, len(kinds))
	var err error
	for i, kind := range []byte(kinds) {
		switch kind {
		case kindInteger:
			args[i], err = column[int64](rows, i)
		case kindBlob:
			args[i], err = column[[]byte](rows, i)
		default:
			args[i], err = texts(rows, i)
		}
		if err != nil {
			return nil, err
		}
	}
	return args, nil
}

func column[T any](rows [][]any, i int) ([]T, error) {
	values := make([]T, len(rows))
	for j, row := range rows {
		value, ok := row[i].(T)
		if !ok {
			return nil, fmt.Errorf("column %d has a %T where a %T belongs", i+1, row[i], value)
		}
		values[j] = value
	}
	return values, nil
}

// texts is a column of texts as PostgreSQL takes them: UTF-8 without zero bytes.
// What ThingsBoard or a broken server said may be anything.
func texts(rows [][]any, i int) ([]string, error) {
	values, err := column[string](rows, i)
	for j, value := range values {
		if strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value) {
			values[j] = strings.ReplaceAll(strings.ToValidUTF8(value, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return values, err
}

// A bulk is a statement for many rows. Its text has {rows} where they belong.
type bulk struct {
	text  string
	kinds string // of the columns, in their order
}

// run runs a bulk statement for all rows, and counts the rows that it touched.
func (d *dialect) run(ctx context.Context, tx *sql.Tx, b bulk, rows [][]any) (touched int64, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	n := len(rows)
	if d.group > 0 {
		n = min(n, d.group)
	}
	text := strings.Replace(b.text, "{rows}", d.rows(b.kinds, n), 1)
	exec := func(args []any) (sql.Result, error) { return tx.ExecContext(d.quiet(ctx), text, args...) }
	if len(rows) > n {
		statement, err := tx.PrepareContext(d.quiet(ctx), text)
		if err != nil {
			return 0, err
		}
		defer func() { _ = statement.Close() }() // it ends with the transaction
		exec = func(args []any) (sql.Result, error) { return statement.ExecContext(d.quiet(ctx), args...) }
	}
	for ; len(rows) >= n; rows = rows[n:] {
		some, err := d.runSome(ctx, exec, b, rows[:n])
		if err != nil {
			return 0, err
		}
		touched += some
	}
	rest, err := d.run(ctx, tx, b, rows)
	return touched + rest, err
}

func (d *dialect) runSome(ctx context.Context, exec func([]any) (sql.Result, error), b bulk, rows [][]any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	args, err := d.args(b.kinds, rows)
	if err != nil {
		return 0, err
	}
	result, err := exec(args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
