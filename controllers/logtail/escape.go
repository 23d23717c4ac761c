package logtail

const (
	escape = 0x1b
	bell   = 0x07
	csi    = "\u009b" // the one-character form of ESC [
)

// escapeLen is the length of the terminal's escape sequence (ECMA-48) that the log starts with, 0 if there is none. A
// sequence that breaks off is as long as it got: it never takes the next line, or a character that cannot be part of
// it, with it.
func escapeLen(log []byte) int {
	switch {
	case len(log) > 1 && log[0] == csi[0] && log[1] == csi[1]:
		return controlSequenceLen(log, len(csi))
	case log[0] != escape:
		return 0
	case len(log) == 1:
		return 1
	}
	switch log[1] {
	case '[':
		return controlSequenceLen(log, 2)
	case ']', 'P', 'X', '^', '_':
		return controlStringLen(log)
	}
	n := 1
	for n < len(log) && log[n] >= 0x20 && log[n] <= 0x2f {
		n++
	}
	if n < len(log) && log[n] >= 0x30 && log[n] <= 0x7e {
		n++
	}
	return n
}

// controlSequenceLen measures colors, cursor movements and the like: parameters and one final character.
func controlSequenceLen(log []byte, introducer int) int {
	n := introducer
	for n < len(log) && log[n] >= 0x20 && log[n] <= 0x3f {
		n++
	}
	if n < len(log) && log[n] >= 0x40 && log[n] <= 0x7e {
		n++
	}
	return n
}

// controlStringLen measures window titles, links and the like: a string that a bell or ESC \ ends.
func controlStringLen(log []byte) int {
	for n := 2; n < len(log); n++ {
		switch log[n] {
		case bell:
			return n + 1
		case escape:
			if n+1 < len(log) && log[n+1] == '\\' {
				return n + 2
			}
			return n
		case '\n', '\r':
			return n
		}
	}
	return len(log)
}
