package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/config"
)

type userCommand struct {
	Add           userAddCommand           `cmd:"" help:"Add an operator."`
	ResetPassword userResetPasswordCommand `cmd:"" help:"Give an operator a new password; their sessions end, and a pause for wrong guesses does."`
	List          userListCommand          `cmd:"" help:"List the operators."`
}

// newPassword is where a password comes from that must stand in no process list.
type newPassword struct {
	PasswordFile string `placeholder:"FILE" help:"Read the password from this file, or from standard input with -. Without it one is made and printed."`
}

// read gives the password, and whether it was made here and must be told.
func (p newPassword) read(c console) (password string, made bool, err error) {
	var raw []byte
	switch p.PasswordFile {
	case "":
		return randomPassword(), true, nil
	case "-":
		raw, err = io.ReadAll(io.LimitReader(c.in, 64<<10))
	default:
		raw, err = os.ReadFile(p.PasswordFile)
	}
	if err != nil {
		return "", false, config.Errorf("read the password: %v", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), false, nil
}

// randomPassword has 120 random bits in groups that can be read out.
func randomPassword() string {
	b := make([]byte, 15)
	rand.Read(b)
	s := strings.ToLower(base32.StdEncoding.EncodeToString(b))
	return s[:6] + "-" + s[6:12] + "-" + s[12:18] + "-" + s[18:]
}

func tell(c console, username, password string, made bool) error {
	if !made {
		return nil
	}
	_, err := fmt.Fprintf(c.out, "The password of %s, shown only now: %s\n", username, password)
	return err
}

// withAccess opens the server's operators for one command.
func withAccess(ctx context.Context, l *config.Loader, s *config.Storage, do func(*access.Access) error) error {
	db, err := openExisting(ctx, l, s)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(access.Open(access.Options{DB: db}))
}

type userAddCommand struct {
	config.Storage `embed:""`
	newPassword    `embed:""`
	Username       string      `arg:"" help:"Name to sign in with."`
	Role           access.Role `default:"operator" enum:"administrator,operator,viewer" help:"administrator, operator or viewer."`
}

// Run adds the operator; the first one must be an administrator, or nobody could add the next.
func (u *userAddCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	password, made, err := u.read(c)
	if err != nil {
		return err
	}
	return withAccess(ctx, l, &u.Storage, func(a *access.Access) error {
		if first, err := a.SetupNeeded(ctx); err != nil {
			return err
		} else if first && u.Role != access.Administrator {
			return fmt.Errorf("the first operator must be an administrator: add --role administrator")
		}
		o, err := a.CreateOperator(ctx, consoleActor, access.NewOperator{Username: u.Username, Password: password, Role: u.Role})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.err, "Added %s as %s.\n", o.Username, o.Role)
		return tell(c, o.Username, password, made)
	})
}

type userResetPasswordCommand struct {
	config.Storage `embed:""`
	newPassword    `embed:""`
	Username       string `arg:"" help:"Name of the operator."`
}

// Run sets the password.
func (u *userResetPasswordCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	password, made, err := u.read(c)
	if err != nil {
		return err
	}
	return withAccess(ctx, l, &u.Storage, func(a *access.Access) error {
		if err := a.ResetPassword(ctx, consoleActor, u.Username, password); err != nil {
			return err
		}
		fmt.Fprintf(c.err, "%s has a new password; all sessions of %s have ended.\n", u.Username, u.Username)
		return tell(c, u.Username, password, made)
	})
}

type userListCommand struct {
	config.Storage `embed:""`
	JSON           bool `name:"json" help:"Print as JSON."`
}

// Run lists the operators.
func (u *userListCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	return withAccess(ctx, l, &u.Storage, func(a *access.Access) error {
		list := []access.OperatorAccount{}
		for cursor := ""; ; {
			page, next, err := a.Operators(ctx, access.Page{Cursor: cursor, Limit: 1000})
			if err != nil {
				return err
			}
			list = append(list, page...)
			if cursor = next; next == "" {
				break
			}
		}
		if u.JSON {
			return printJSON(c, list)
		}
		return printOperators(c, list)
	})
}

func printOperators(c console, list []access.OperatorAccount) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tSTATE\tCREATED\tLAST SIGN-IN")
	for _, o := range list {
		state, last := "enabled", "never"
		if o.Disabled {
			state = "disabled"
		}
		if o.LastLoginAt != nil {
			last = o.LastLoginAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Username, o.Role, state, o.CreatedAt.Format(time.RFC3339), last)
	}
	return w.Flush()
}
