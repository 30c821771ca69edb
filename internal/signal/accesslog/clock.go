package accesslog

import "time"

// clock spells out times. Those of one second share most of it, which is kept: the spelling of a whole time
// costs more than that of a whole line.
type clock struct {
	second int64
	iso    [len("2006-01-02T15:04:05.")]byte
	common [len("02/Jan/2006:15:04:05 +0000")]byte
	set    bool
}

// turn spells out the second that t is in.
func (c *clock) turn(t time.Time) {
	s := t.Unix()
	if c.set && s == c.second {
		return
	}
	utc := t.UTC()
	if y := utc.Year(); y < 0 || y > 9999 {
		utc = time.Time{} // no clock says so, and the room is for four digits
	}
	c.second, c.set = s, true
	utc.AppendFormat(c.iso[:0], "2006-01-02T15:04:05")
	c.iso[len(c.iso)-1] = '.'
	utc.AppendFormat(c.common[:0], "02/Jan/2006:15:04:05 +0000")
}

// appendISO appends a time in UTC with three decimals.
func (c *clock) appendISO(b []byte, t time.Time) []byte {
	c.turn(t)
	ms := t.Nanosecond() / 1e6
	b = append(b, c.iso[:]...)
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func (c *clock) appendCommon(b []byte, t time.Time) []byte {
	c.turn(t)
	return append(b, c.common[:]...)
}
