package report

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"
)

// none is the index of a word or cause that is not there.
const none = -1

// record is a row whose shared words are indexes.
type record struct {
	device                 string
	ok                     bool
	how, cause, credential int
	milliseconds           float64
	at, expires            time.Time
}

// rows holds the devices as the JSON that the page carries, in pieces, so that
// growing never copies a whole fleet.
type rows struct {
	pieces [][]byte
	count  int
}

const pieceSize = 64 << 10

// add appends a device: its name, whether it passed, how, the cause, the
// milliseconds, when (seconds), the credential, and the day of expiry.
func (r *rows) add(one record) {
	line := make([]byte, 0, 96+len(one.device))
	if r.count > 0 {
		line = append(line, ",\n"...)
	}
	line = append(line, '[')
	line = append(line, quoted(one.device)...)
	passed := int64(0)
	if one.ok {
		passed = 1
	}
	for _, number := range []int64{passed, int64(one.how), int64(one.cause)} {
		line = strconv.AppendInt(append(line, ','), number, 10)
	}
	line = strconv.AppendFloat(append(line, ','), one.milliseconds, 'f', -1, 64)
	line = append(line, ',')
	if !one.at.IsZero() {
		line = strconv.AppendInt(line, one.at.Unix(), 10)
	} else {
		line = append(line, "null"...)
	}
	line = strconv.AppendInt(append(line, ','), int64(one.credential), 10)
	line = append(line, ',')
	if !one.expires.IsZero() {
		line = strconv.AppendInt(line, day(one.expires), 10)
	} else {
		line = append(line, "null"...)
	}
	r.push(append(line, ']'))
	r.count++
}

func (r *rows) push(line []byte) {
	last := len(r.pieces) - 1
	if last < 0 || len(r.pieces[last])+len(line) > cap(r.pieces[last]) {
		r.pieces = append(r.pieces, make([]byte, 0, max(len(line), pieceSize)))
		last++
	}
	r.pieces[last] = append(r.pieces[last], line...)
}

func (r *rows) writeTo(w io.Writer) error {
	for _, piece := range r.pieces {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// quoted is a JSON string that may stand in a script element: Marshal escapes
// <, > and &, and puts U+FFFD for what is not UTF-8. It cannot fail for a string.
func quoted(text string) []byte {
	out, _ := json.Marshal(text)
	return out
}

// known is a latency to a tenth of a millisecond, and 0 where it is none.
func known(milliseconds float64) float64 {
	if !(milliseconds > 0) || math.IsInf(milliseconds, 0) {
		return 0
	}
	return max(0.1, math.Round(milliseconds*10)/10)
}

const secondsADay = 24 * 60 * 60

// day counts the days from 1970 on, in UTC.
func day(t time.Time) int64 {
	seconds := t.Unix()
	days := seconds / secondsADay
	if seconds%secondsADay < 0 {
		days--
	}
	return days
}

// dayTime is the first moment of a day that day counted.
func dayTime(days int64) time.Time {
	return time.Unix(days*secondsADay, 0).UTC()
}
