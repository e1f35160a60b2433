package settings

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxAgeDays is a hundred years.
const maxAgeDays = 36_525

// ParseAge takes a length of time, in days ("90d") or as Go has them ("36h").
func ParseAge(s string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		n, err := strconv.Atoi(days)
		if err == nil && n >= 0 && n <= maxAgeDays {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	age, err := time.ParseDuration(s)
	if err != nil || age < 0 {
		return 0, fmt.Errorf("%q is no length of time; say for instance 90d or 36h", s)
	}
	return age, nil
}
