package logtail

import "unicode/utf8"

// CutMark ends a text that was cut.
const CutMark = "…"

// Cut is the text in at most limit bytes, cut between characters, with the mark where it was cut.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len(CutMark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + CutMark
}
