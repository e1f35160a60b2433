package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// NonceAttribute is the client attribute that RoundTrip writes.
const NonceAttribute = "tbcert_nonce"

const (
	// answerWithin is how long one attribute request may go unanswered before
	// the next is sent.
	answerWithin = 2 * time.Second

	// The pauses between two requests: short at first, because storing takes
	// milliseconds, and longer when it does not.
	firstPause, longestPause = 25 * time.Millisecond, 500 * time.Millisecond
)

// RoundTrip writes nonce as the client attribute [NonceAttribute] and reads it
// back, which proves what a PUBACK does not: that ThingsBoard stored it.
// Storage is asynchronous, so it asks until the value is the new one or ctx
// ends. [ErrNotStored] is in the error's chain when there were answers, and
// none of them was right. The attribute stays with the device.
func (s *Session) RoundTrip(ctx context.Context, nonce string) error {
	if err := s.Subscribe(ctx, TopicAttributesResponses); err != nil {
		return err
	}
	written, err := json.Marshal(map[string]string{NonceAttribute: nonce})
	if err != nil {
		return fmt.Errorf("the attribute %s: %w", NonceAttribute, err)
	}
	if err := s.Publish(ctx, TopicAttributes, written); err != nil {
		return err
	}
	answers := 0
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		answer, err := s.ask(ctx)
		if err != nil && (ctx.Err() != nil || !isEnded(err)) {
			return notStored(answers, err)
		}
		if err == nil {
			answers++
			stored, err := storedNonce(answer)
			if err != nil {
				return err
			}
			if stored == typed(nonce) {
				return nil
			}
		}
		if err := wait(ctx, pause); err != nil {
			return notStored(answers, err)
		}
	}
}

// ask requests the attribute once and waits a while for an answer.
func (s *Session) ask(ctx context.Context) (Message, error) {
	s.asked++
	request := []byte(`{"clientKeys":"` + NonceAttribute + `"}`)
	if err := s.Publish(ctx, AttributesRequestTopic(s.asked), request); err != nil {
		return Message{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		for i, message := range s.inbox {
			if strings.HasPrefix(message.Topic, TopicAttributesResponsePrefix) {
				return s.take(i), nil
			}
		}
		packet, err := s.read(ctx, "an answer on "+AttributesResponseTopic(s.asked))
		if err != nil {
			return Message{}, fmt.Errorf("waiting for the attribute %s: %w", NonceAttribute, err)
		}
		if packet != nil {
			return Message{}, s.wire.breaks(unexpected("an answer on "+AttributesResponseTopic(s.asked), packet))
		}
	}
}

// storedNonce is the value in an answer; nil when it holds none.
func storedNonce(answer Message) (any, error) {
	object, err := ParseObject(answer.Payload)
	if err != nil {
		return nil, &ProtocolError{
			Expected: "a JSON object on " + answer.Topic, Problem: "what came is not one: " + err.Error(),
			First: answer.Payload[:min(len(answer.Payload), firstBytes)],
		}
	}
	client, _ := object["client"].(map[string]any)
	switch value := client[NonceAttribute].(type) {
	case string:
		return typed(value), nil
	case json.Number: // ThingsBoard made one of a text of digits
		return typed(value.String()), nil
	default:
		return nil, nil
	}
}

func notStored(answers int, err error) error {
	if answers == 0 || !isEnded(err) {
		return err
	}
	return fmt.Errorf("%w in %d answers: %w", ErrNotStored, answers, err)
}

func isEnded(err error) bool {
	var ended *endedError
	return errors.As(err, &ended)
}

// wait gives the server time.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &endedError{cause: context.Cause(ctx), context: ctx.Err()}
	}
}
