package familyapi

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeSpan is [-][d.]hh:mm:ss[.fffffff].
var timeSpan = regexp.MustCompile(`^(-)?(?:([0-9]{1,8})\.)?([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,7}))?$`)

var errTimeSpan = errors.New("not a time span of the form [d.]hh:mm:ss[.fffffff]")

// parseTimeSpan reads the family's form of a duration. What is longer than a Duration holds is the longest
// one.
func parseTimeSpan(s string) (time.Duration, error) {
	m := timeSpan.FindStringSubmatch(s)
	if m == nil {
		return 0, errTimeSpan
	}
	var n [4]int64
	for i, part := range m[2:6] {
		if part != "" {
			// At most eight digits, by the pattern.
			n[i], _ = strconv.ParseInt(part, 10, 64)
		}
	}
	days, hours, minutes, seconds := n[0], n[1], n[2], n[3]
	if hours > 23 || minutes > 59 || seconds > 59 {
		return 0, errTimeSpan
	}
	ticks, _ := strconv.ParseInt((m[6] + strings.Repeat("0", 7))[:7], 10, 64)
	d := time.Duration(math.MaxInt64)
	if total := ((days*24+hours)*60+minutes)*60 + seconds; total < int64(d/time.Second) {
		d = time.Duration(total)*time.Second + time.Duration(ticks)*100*time.Nanosecond
	}
	if m[1] != "" {
		d = -d
	}
	return d, nil
}
