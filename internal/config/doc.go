// Package config reads and writes the bank's configuration file: TOML that names the clusters,
// their account ranges and servers, and the opening balance. What a file leaves out is as in the
// compiled-in bank. Environment and flags are the business of package cli.
//
// Errors name the file, the line where the reader knows it, the field, and what is wanted; all
// problems of a topology are reported at once. Read first: Parse.
package config
