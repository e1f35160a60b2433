package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	lib "github.com/mholt/acmez/v3/acme"
)

// solver answers one kind of challenge.
type solver interface {
	// Present makes the answer visible, and CleanUp takes it away again, also when
	// Present failed.
	Present(ctx context.Context, challenge lib.Challenge) error
	CleanUp(ctx context.Context, challenge lib.Challenge) error
}

// An order is one certificate's way (RFC 8555, 7.4).
type order struct {
	*Client

	account lib.Account
	proofs  []*proof
}

// A proof is that one name is ours.
type proof struct {
	authorization lib.Authorization
	challenge     lib.Challenge
	presented     bool
}

// obtain orders a certificate, proves the names, and fetches it.
func (o *order) obtain(ctx context.Context, wanted lib.Order, request []byte) ([]lib.Certificate, error) {
	made, err := o.library.NewOrder(ctx, o.account, wanted)
	var problem lib.Problem
	if wanted.Replaces != "" && errors.As(err, &problem) {
		// The CA does not know the certificate, or it is another account's, or has a
		// successor: this is an order like the first then.
		wanted.Replaces = ""
		made, err = o.library.NewOrder(ctx, o.account, wanted)
	}
	if err != nil {
		return nil, err
	}
	if err := o.prove(ctx, made); err != nil {
		return nil, err
	}
	ctx, cancel := o.patiently(ctx)
	defer cancel()
	made, err = o.library.FinalizeOrder(ctx, o.account, made, request)
	if err != nil {
		return nil, fmt.Errorf("finalize the order: %w", err)
	}
	return o.library.GetCertificateChain(ctx, o.account, made.Certificate)
}

// patiently bounds a wait for the CA, which may ask for any.
func (c *Client) patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.config.Patience+callTimeout, errors.New("the CA takes too long"))
}

// prove proves every name of an order. All answers are visible before the CA is told
// to look at the first.
func (o *order) prove(ctx context.Context, made lib.Order) (err error) {
	defer func() { o.tidy(ctx, err) }()
	for _, address := range made.Authorizations {
		authorization, err := o.library.GetAuthorization(ctx, o.account, address)
		if err != nil {
			return err
		}
		if authorization.Status == lib.StatusValid {
			continue // proved not long ago
		}
		if err := o.present(ctx, authorization); err != nil {
			return err
		}
	}
	for _, p := range o.proofs {
		if err := o.ask(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range o.proofs {
		if err := o.wait(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// present makes the answer to a challenge visible.
func (o *order) present(ctx context.Context, authorization lib.Authorization) error {
	host := authorization.IdentifierValue()
	at := slices.IndexFunc(authorization.Challenges, func(c lib.Challenge) bool { return c.Type == o.config.Challenge })
	if at < 0 {
		offered := make([]string, len(authorization.Challenges))
		for i, challenge := range authorization.Challenges {
			offered[i] = challenge.Type
		}
		return &RefusedError{
			Type: "challenge", Host: host, Detail: fmt.Sprintf("it does not take %s for this name, only %s", o.config.Challenge, strings.Join(offered, ", ")),
			Fix: "use one of those with --acme-challenge",
		}
	}
	p := &proof{authorization: authorization, challenge: authorization.Challenges[at]}
	o.proofs = append(o.proofs, p)
	if err := o.solver.Present(ctx, p.challenge); err != nil {
		return &ChallengeError{Host: host, Err: err}
	}
	p.presented = true
	return nil
}

// A ChallengeError says why a challenge could not be answered: nobody has been
// refused yet.
type ChallengeError struct {
	Host string
	Err  error
}

func (e *ChallengeError) Error() string { return fmt.Sprintf("prove %s: %v", e.Host, e.Err) }

func (e *ChallengeError) Unwrap() error { return e.Err }

// ask tells the CA to look. One that has looked, and would do so again, is told to for
// a while (RFC 8555, 8.2): step-ca looks only when it is told.
func (o *order) ask(ctx context.Context, p *proof) error {
	for end := time.Now().Add(o.config.Patience / askShare); ; {
		seen, err := o.library.InitiateChallenge(ctx, o.account, p.challenge)
		if err != nil {
			return err
		}
		if seen.Error == nil || seen.Status != lib.StatusPending {
			return nil
		}
		if time.Now().After(end) {
			return p.problem(seen.Error)
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// How often, and for which share of its patience, a client tells a CA to look again.
const (
	askEvery = time.Second
	askShare = 8
)

// wait waits for the CA's decision.
func (o *order) wait(ctx context.Context, p *proof) error {
	ctx, cancel := o.patiently(ctx)
	defer cancel()
	seen, err := o.library.PollAuthorization(ctx, o.account, p.authorization)
	p.authorization.Status = seen.Status
	if err == nil {
		return nil
	}
	for _, challenge := range seen.Challenges {
		if challenge.Type == o.config.Challenge && challenge.Error != nil {
			return p.problem(challenge.Error)
		}
	}
	return fmt.Errorf("prove %s: %w", p.authorization.IdentifierValue(), err)
}

// problem is what the CA says of a challenge, with the name that it is about.
func (p *proof) problem(said *lib.Problem) lib.Problem {
	problem := *said
	problem.Resource = p.authorization
	return problem
}

// tidy takes the answers away, also when the user has had enough, and gives up what is
// not proved: a CA counts what is open.
func (o *order) tidy(ctx context.Context, failed error) {
	ctx, cancel := o.patiently(context.WithoutCancel(ctx))
	defer cancel()
	for _, p := range o.proofs {
		if err := o.solver.CleanUp(ctx, p.challenge); err != nil && p.presented {
			o.warn(fmt.Errorf("the answer to the challenge for %s is still there: %w", p.authorization.IdentifierValue(), err))
		}
		if failed != nil && p.authorization.Status == lib.StatusPending {
			_, _ = o.library.DeactivateAuthorization(ctx, o.account, p.authorization.Location) // it ends by itself, later
		}
	}
}

func (c *Client) warn(err error) {
	if c.config.Warn != nil {
		c.config.Warn(err)
	}
}
