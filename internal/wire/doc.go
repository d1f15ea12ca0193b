// Package wire is the language between servers and between clients and servers: messages, their
// fixed binary encoding, and frames. It is pure: bytes in, values out, no I/O. Decoders accept any
// input without panic and bound every length before they allocate.
//
// A frame is: length uint32 (of what follows the checksum), CRC32C uint32 over what follows,
// version byte, type byte, payload. Little endian throughout.
//
// Read first: Message and its types in messages.go.
package wire
