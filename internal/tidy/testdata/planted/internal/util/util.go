package util

// FIXME: what is this for? // want unfinished
func f(a, b, c, d, e int) {}
