package familyapi

// ParseTimeSpan is parseTimeSpan.
var ParseTimeSpan = parseTimeSpan
