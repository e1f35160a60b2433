package ui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/tbcert/tbcert/certs/secret"
)

// ErrNoTerminal says that a question could not be asked.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// CanAsk reports whether a person is there to answer.
func (u *UI) CanAsk() bool {
	return isTerminal(u.streams.In) && isTerminal(u.streams.Err)
}

// Confirm asks a question that is answered yes or no; anything but yes is no,
// and said to be understood: the command ends there.
// Without a terminal it gives ErrNoTerminal.
func (u *UI) Confirm(ctx context.Context, question string) (bool, error) {
	if !u.CanAsk() {
		return false, ErrNoTerminal
	}
	answer, err := u.ask(ctx, question+" [y/N] ", readLine)
	if err != nil {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	if answer == "y" || answer == "yes" {
		return true, nil
	}
	u.tell("Nothing was done.")
	return false, nil
}

// Password asks for a secret and does not show it. Without a terminal it gives
// ErrNoTerminal.
func (u *UI) Password(ctx context.Context, prompt string) (secret.Text, error) {
	if !u.CanAsk() {
		return secret.Text{}, ErrNoTerminal
	}
	file, ok := u.streams.In.(*os.File)
	if !ok {
		return secret.Text{}, ErrNoTerminal
	}
	state, err := term.GetState(int(file.Fd()))
	if err != nil {
		return secret.Text{}, fmt.Errorf("ask on the terminal: %w", err)
	}
	answer, err := u.ask(ctx, prompt+": ", func(io.Reader) (string, error) {
		line, err := term.ReadPassword(int(file.Fd()))
		return string(line), err
	})
	if err != nil {
		// Interrupted while the terminal's echo was off.
		return secret.Text{}, errors.Join(err, term.Restore(int(file.Fd()), state))
	}
	u.tell("")
	return secret.New(answer), nil
}

// ask prompts and reads; an interrupt ends the wait, not the read under it,
// which ends with the process.
func (u *UI) ask(ctx context.Context, prompt string, read func(io.Reader) (string, error)) (string, error) {
	if _, err := io.WriteString(u.streams.Err, prompt); err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := read(u.streams.In)
		replies <- reply{text, err}
	}()
	select {
	case <-ctx.Done():
		u.tell("")
		return "", ctx.Err()
	case got := <-replies:
		return got.text, got.err
	}
}

func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil // Ctrl-D is "no"
	}
	return line, err
}
