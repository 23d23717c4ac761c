package cli

import (
	"os"

	"golang.org/x/term"
)

// width is how many columns the output has; 0 where it is no terminal, so that no line is broken.
func (p *plugin) width() int {
	terminal, ok := p.Out.(*safeTerminal)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(terminal.file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// redraws is true where the output is a terminal that can be drawn on anew.
func (p *plugin) redraws() bool {
	_, ok := p.Out.(*safeTerminal)
	return ok && os.Getenv("TERM") != "dumb"
}

// asks is true where somebody can answer a question.
func (p *plugin) asks() bool {
	file, isFile := p.In.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}
