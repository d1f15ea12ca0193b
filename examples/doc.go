// Package examples holds the files that the documentation and the demo use: transfers to run and
// lessons for a class. It has no code.
package examples
