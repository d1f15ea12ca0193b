// Package freeport finds ports of this machine for banks that are started for a test or a measurement.
//
// A port counts as free if it could be listened on a moment ago; nothing holds it. Start with Take.
package freeport
