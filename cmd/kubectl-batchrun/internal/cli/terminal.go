package cli

import (
	"os"

	"golang.org/x/term"
)

// terminal is the output's file descriptor if it is a terminal.
func (p *plugin) terminal() (descriptor int, ok bool) {
	file, isFile := p.Out.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

// width is how many columns the output has; 0 where it is no terminal, so that no line is broken.
func (p *plugin) width() int {
	descriptor, ok := p.terminal()
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(descriptor)
	if err != nil {
		return 0
	}
	return width
}

// asks is true where somebody can answer a question.
func (p *plugin) asks() bool {
	file, isFile := p.In.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}
