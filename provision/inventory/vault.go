package inventory

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/certs/secret"
)

// The errors of an inventory whose secrets are behind a passphrase.
var (
	// ErrPassphraseNeeded: there is none, and the inventory's secrets need it.
	ErrPassphraseNeeded = errors.New("the inventory's secrets are encrypted, and there is no passphrase")
	// ErrWrongPassphrase: it is not the one with which they were encrypted.
	ErrWrongPassphrase = errors.New("the passphrase is not the one of the inventory")
)

// How a passphrase becomes a key (PBKDF2-HMAC-SHA256), and how much work a
// vault may ask for.
const (
	kdfName       = "pbkdf2-hmac-sha256"
	kdfRounds     = 600_000
	maxKDFRounds  = 10_000_000
	keyBytes      = 32
	saltBytes     = 16
	sealedVersion = 1
)

// vaultKey is the row of meta that has the data key.
const vaultKey = "vault"

// A vaultRow is that row. The data key is either wrapped by a key that comes
// from a passphrase, or plain, and then the file's mode is what protects it.
type vaultRow struct {
	Version int    `json:"version"`
	Plain   []byte `json:"plain,omitempty"`
	KDF     string `json:"kdf,omitempty"`
	Rounds  int    `json:"rounds,omitempty"`
	Salt    []byte `json:"salt,omitempty"`
	Wrapped []byte `json:"wrapped,omitempty"`
}

// keys seal secrets and make digests of credentials. Both keys come from the
// data key.
type keys struct {
	aead cipher.AEAD
	mac  []byte
}

func newKeys(dataKey []byte) (*keys, error) {
	sealing, err := hkdf.Expand(sha256.New, dataKey, "tbcert inventory: seal", keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive the inventory's keys: %w", err)
	}
	mac, err := hkdf.Expand(sha256.New, dataKey, "tbcert inventory: digest", keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive the inventory's keys: %w", err)
	}
	aead, err := sealer(sealing)
	if err != nil {
		return nil, err
	}
	return &keys{aead: aead, mac: mac}, nil
}

// sealer is AES-256-GCM, each text with a nonce of its own.
func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("set up AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("set up AES-GCM: %w", err)
	}
	return aead, nil
}

// seal encrypts a text that belongs to a place, where alone it can be opened.
func (k *keys) seal(text []byte, place string) []byte {
	out := make([]byte, 1, 1+len(text)+k.aead.Overhead())
	out[0] = sealedVersion
	return k.aead.Seal(out, nil, text, []byte(place)) //nolint:gosec // the nonce is random, made by the cipher
}

func (k *keys) open(sealed []byte, place string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealedVersion {
		return nil, errors.New("a secret is not sealed in a way that this tbcert knows")
	}
	text, err := k.aead.Open(nil, nil, sealed[1:], []byte(place))
	if err != nil {
		return nil, errors.New("a secret cannot be opened: it was changed, or belongs to another record")
	}
	return text, nil
}

// digest is by what a credential is found: 64 bits are enough to find it, and
// what was found is opened and compared. 0 is none.
func (k *keys) digest(id secret.Text) int64 {
	if id.IsZero() {
		return 0
	}
	mac := hmac.New(sha256.New, k.mac)
	mac.Write([]byte(id.Reveal()))
	return int64(binary.BigEndian.Uint64(mac.Sum(nil))) //nolint:gosec // all 64 bits are wanted
}

// A querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// unlock gives the keys. It asks for the passphrase, and makes the data key,
// when that was not done before.
func (s *Store) unlock(ctx context.Context) (*keys, error) {
	return s.unlockBy(ctx, s.db)
}

func (s *Store) unlockBy(ctx context.Context, q querier) (*keys, error) {
	s.unlocking.Lock()
	defer s.unlocking.Unlock()
	if s.keys != nil {
		return s.keys, nil
	}
	var passphrase secret.Text
	var err error
	if s.options.Passphrase != nil {
		if passphrase, err = s.options.Passphrase(ctx); err != nil {
			return nil, err
		}
	}
	dataKey, err := s.dataKey(ctx, q, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.where, err)
	}
	s.keys, err = newKeys(dataKey)
	return s.keys, err
}

// dataKey reads the data key or makes it. One that is plain is wrapped when
// there is a passphrase.
func (s *Store) dataKey(ctx context.Context, q querier, passphrase secret.Text) ([]byte, error) {
	text, err := readVault(ctx, q)
	if errors.Is(err, sql.ErrNoRows) {
		if err := makeVault(ctx, q, passphrase); err != nil {
			return nil, err
		}
		text, err = readVault(ctx, q) // another process may have been faster
	}
	if err != nil {
		return nil, err
	}
	var row vaultRow
	if err := json.Unmarshal([]byte(text), &row); err != nil || row.Version != 1 {
		return nil, errors.New("the inventory's key is not written in a way that this tbcert knows")
	}
	if len(row.Wrapped) > 0 {
		return row.unwrap(passphrase)
	}
	if len(row.Plain) != keyBytes {
		return nil, errors.New("the inventory's key is damaged")
	}
	if !passphrase.IsZero() {
		if err := rewrap(ctx, q, text, passphrase); err != nil {
			return nil, err
		}
		if _, inside := q.(*sql.Tx); !inside { // else it is migrate, which scrubs when it has committed
			err = s.scrub(ctx)
		}
	}
	return row.Plain, err
}

func readVault(ctx context.Context, q querier) (text string, err error) {
	err = q.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, vaultKey).Scan(&text)
	return text, err
}

func makeVault(ctx context.Context, q querier, passphrase secret.Text) error {
	dataKey := make([]byte, keyBytes)
	_, _ = rand.Read(dataKey) // never fails
	text, err := encodeVault(dataKey, passphrase)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`, vaultKey, text)
	return err
}

// rewrap puts the plain key of a row behind a passphrase.
func rewrap(ctx context.Context, q querier, was string, passphrase secret.Text) error {
	var row vaultRow
	if err := json.Unmarshal([]byte(was), &row); err != nil {
		return err
	}
	text, err := encodeVault(row.Plain, passphrase)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `UPDATE meta SET value = $1 WHERE key = $2 AND value = $3`, text, vaultKey, was)
	return err
}

func encodeVault(dataKey []byte, passphrase secret.Text) (string, error) {
	row := vaultRow{Version: 1, Plain: dataKey}
	if !passphrase.IsZero() {
		row = vaultRow{Version: 1, KDF: kdfName, Rounds: kdfRounds, Salt: make([]byte, saltBytes)}
		_, _ = rand.Read(row.Salt) // never fails
		aead, err := row.wrapper(passphrase)
		if err != nil {
			return "", err
		}
		row.Wrapped = aead.Seal(nil, nil, dataKey, []byte(vaultKey)) //nolint:gosec // the nonce is random, made by the cipher
	}
	text, err := json.Marshal(row)
	return string(text), err
}

func (r vaultRow) unwrap(passphrase secret.Text) ([]byte, error) {
	if passphrase.IsZero() {
		return nil, ErrPassphraseNeeded
	}
	if r.KDF != kdfName || r.Rounds < 1 || r.Rounds > maxKDFRounds {
		return nil, errors.New("the inventory's key is wrapped in a way that this tbcert does not know")
	}
	aead, err := r.wrapper(passphrase)
	if err != nil {
		return nil, err
	}
	dataKey, err := aead.Open(nil, nil, r.Wrapped, []byte(vaultKey))
	if err != nil {
		return nil, ErrWrongPassphrase
	}
	return dataKey, nil
}

// wrapper is the cipher that a passphrase gives.
func (r vaultRow) wrapper(passphrase secret.Text) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, passphrase.Reveal(), r.Salt, r.Rounds, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive a key of the passphrase: %w", err)
	}
	return sealer(key)
}
