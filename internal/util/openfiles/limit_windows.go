package openfiles

func limit() (int, error) { return 0, ErrUnknown }
