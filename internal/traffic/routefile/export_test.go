package routefile

// Tree returns the document as text of one form: scalars in quotes, whatever they were written as, null
// for nothing. The reason is not empty where there is no document.
func Tree(data []byte) (text, reason string) {
	root, _, reason := readTree(data)
	if reason != "" || root == nil {
		return "null", reason
	}
	return string(root.appendText(nil)), ""
}

func (n *node) appendText(b []byte) []byte {
	switch n.form {
	case absent:
		return append(b, "null"...)
	case mapping:
		b = append(b, '{')
		for _, e := range n.entries {
			b = append(b, e.key...)
			b = e.value.appendText(append(b, ':'))
			b = append(b, ',')
		}
		return append(b, '}')
	case list:
		b = append(b, '[')
		for _, item := range n.items {
			b = append(item.appendText(b), ',')
		}
		return append(b, ']')
	default:
		b = append(b, '"')
		b = append(b, n.text...)
		return append(b, '"')
	}
}
