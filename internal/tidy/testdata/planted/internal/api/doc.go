// Package api has fields.
package api

// T is a type.
type T struct {
	A int `json:"known_field"`
	B int `json:"secret_field,omitempty"` // want command
	C int `json:"-"`
}
