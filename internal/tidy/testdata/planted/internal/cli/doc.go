// Package cli has commands.
package cli

type command struct{ Use, Short string }

type flags struct{}

func (flags) StringVar(p *string, name, value, usage string)     {}
func (flags) BoolP(name, short string, value bool, usage string) {}

func commands() []command {
	var fs flags
	var s string
	fs.StringVar(&s, "known-flag", "", "")
	fs.StringVar(&s, "secret-flag", "", "") // want command
	fs.BoolP("short-flag", "s", false, "")  // want command
	return []command{
		{Use: "known ID", Short: "x"},
		{Use: "secret ID", Short: "x"}, // want command
	}
}
