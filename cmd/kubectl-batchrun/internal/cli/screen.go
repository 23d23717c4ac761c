package cli

import (
	"context"
	"errors"
	"time"

	"charm.land/bubbles/v2/progress"
	tea "charm.land/bubbletea/v2"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

const (
	// screenFailures is how many of the last failures a terminal shows.
	screenFailures = 5
	// widestBar is how wide the bar gets on a wide terminal.
	widestBar = 100
	// tickInterval is how often ages and rates are written anew.
	tickInterval = time.Second
)

// What the screen is told.
type (
	// runMsg is a version of the run.
	runMsg struct{ *v1alpha1.BatchRun }
	// tickMsg comes every second.
	tickMsg time.Time
	// lostMsg says that the cluster does not answer.
	lostMsg struct{ err error }
	// endMsg says that nothing more comes.
	endMsg struct{ err error }
)

// screen is what a terminal shows of a run. It implements tea.Model.
type screen struct {
	name  string
	now   func() time.Time
	run   *v1alpha1.BatchRun
	rate  render.Rate
	bar   progress.Model
	width int
	lost  error // why the cluster does not answer; nil while it does
	err   error
}

func newScreen(name string, now func() time.Time, width int) *screen {
	return &screen{name: name, now: now, width: width, bar: progress.New()}
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return tick() }

func tick() tea.Cmd {
	return tea.Tick(tickInterval, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// Update implements tea.Model.
func (s *screen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case runMsg:
		s.run, s.lost = message.BatchRun, nil
		s.rate.Observe(s.now(), s.run)
	case lostMsg:
		s.lost = message.err
	case tea.WindowSizeMsg:
		s.width = message.Width
	case tickMsg:
		return s, tick()
	case endMsg:
		s.err = message.err
		return s, tea.Quit
	case tea.KeyPressMsg:
		if key := message.String(); key == "q" || key == "ctrl+c" || key == "esc" {
			return s, tea.Quit
		}
	}
	return s, nil
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	if s.run == nil {
		return tea.NewView("Waiting for run " + s.name + " …\n")
	}
	s.bar.SetWidth(min(s.width, widestBar))
	pace := s.rate.Pace(s.run, s.now())
	if s.lost != nil {
		pace = lostText(s.lost)
	}
	return tea.NewView(render.Screen(s.run, s.bar.ViewAs(render.Share(s.run)), pace,
		render.Options{Width: s.width, Now: s.now(), Failures: screenFailures}))
}

// watchScreen shows a run on a terminal until it is finished or the user has seen enough.
func (p *plugin) watchScreen(ctx context.Context, c *cluster, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := newScreen(name, p.now, p.width())
	terminal := p.Out.(*safeTerminal).file //nolint:forcetypeassert // redraws says so
	program := tea.NewProgram(shown, tea.WithContext(ctx), tea.WithInput(p.In), tea.WithOutput(terminal), tea.WithoutSignalHandler())
	go func() {
		lost := func(err error) { program.Send(lostMsg{err}) }
		err := p.follow(ctx, c, name, lost, func(run *v1alpha1.BatchRun) bool {
			program.Send(runMsg{run})
			return finished(run)
		})
		program.Send(endMsg{err})
	}()
	_, err := program.Run()
	return errors.Join(err, shown.err)
}
