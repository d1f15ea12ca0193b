package storage

import (
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func FuzzDecodeBlock(f *testing.F) {
	const seed = 42
	block := appendPayload(make([]byte, blockHeaderSize), &hardState{1, 2, 3}, []*raftpb.Entry{ent(4, 1, "data")})
	finishBlock(block, seed, blockMeta{kind: blockData, generation: 1, number: 7, syncedEnd: 512})
	f.Add(block, false)
	f.Add(block[blockHeaderSize:], true)
	f.Fuzz(func(t *testing.T, raw []byte, payload bool) {
		if payload && len(raw) < 1<<20 {
			// Give the payload decoder what a checksum would keep from it.
			b := append(make([]byte, blockHeaderSize), raw...)
			finishBlock(b, seed, blockMeta{kind: blockData, generation: 1, number: 7, syncedEnd: 512})
			raw = b
		}
		m, body, ok := decodeBlock(raw, seed, 1)
		if !ok {
			if payload {
				t.Fatal("a whole block was refused")
			}
			return
		}
		if m.generation != 1 || len(body) > len(raw) {
			t.Fatalf("%+v", m)
		}
		hs, entries, err := decodePayload(body)
		if err != nil {
			return
		}
		hs2, entries2, err := decodePayload(appendPayload(nil, hs, entries))
		if err != nil || !reflect.DeepEqual(hs, hs2) || len(entries) != len(entries2) {
			t.Fatalf("%v %v %v", hs2, entries2, err)
		}
		for i := range entries {
			if show(entries[i]) != show(entries2[i]) {
				t.Fatalf("entry %s became %s", show(entries[i]), show(entries2[i]))
			}
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add(encodeKeyFile(testRing()))
	f.Add([]byte("format = 2\n"))
	f.Add([]byte("format = 1\nbank = \"00\"\n[[key]]\nid = 1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ring, err := decodeKeyFile("bank.key", raw)
		if err != nil {
			return
		}
		again, err := decodeKeyFile("bank.key", encodeKeyFile(ring))
		if err != nil || !reflect.DeepEqual(ring, again) {
			t.Fatalf("%v %v", again, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(appendHeader(nil, identityMagic, testIdentity(), []byte{1}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, body, err := decodeHeader("file", raw, identityMagic)
		if err != nil {
			return
		}
		id2, body2, err := decodeHeader("file", appendHeader(nil, identityMagic, id, body), identityMagic)
		if err != nil || id != id2 || string(body) != string(body2) {
			t.Fatalf("%+v %v", id2, err)
		}
	})
}
