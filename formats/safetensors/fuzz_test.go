package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	library "github.com/nlpodyssey/safetensors"

	"github.com/spdfctl/spdfctl/formats"
)

// FuzzHeader demands of every header that is accepted that writing it and
// reading that gives the same header, and that the library accepts it too.
func FuzzHeader(f *testing.F) {
	reference, err := os.ReadFile("testdata/multi_layer.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(reference)
	f.Add(reference[8:8+n], uint16(len(reference)-8-int(n)))
	for _, seed := range []string{
		`{}`, ` {} `, `null`, `[]`, `{"a":1}`, "{\"\xff\":1}", `{"__metadata__":null}`, `{"__metadata__":{}}`,
		`{"__metadata__":{"format":"pt","n":"\u00e9\ud83d\ude00\n\"\\"}}`, `{"\ud800":1}`,
		`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`,
		`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
		`{"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[4,0],"data_offsets":[0,0]},"c":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`,
		`{"a":{"dtype":"F8_E5M2FNUZ","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[2,5]}}`,
		`{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}`, `{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`,
		`{"a":{"dtype":"\u0046\u0034","shape":[1,2],"data_offsets":[0,1]}}`,
		`{"a":{"dtype":"I64","shape":[9223372036854775807,2],"data_offsets":[0,16]}}`,
		`{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[18446744073709551615,0]}}`,
	} {
		for _, size := range []uint16{0, 4, 5, 8} {
			f.Add([]byte(seed), size)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, dataSize uint16) {
		h, err := parseHeader(bytes.Clone(text), int64(dataSize))
		if err != nil {
			return
		}
		again := rewrite(t, h, dataSize)
		if diff := cmp.Diff(again.entries, h.entries, cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("entries (-again +first):\n%s", diff)
		}
		if diff := cmp.Diff(again.metadata, h.metadata); diff != "" {
			t.Errorf("metadata (-again +first):\n%s", diff)
		}

		var infos []formats.Info
		newer := false
		for _, e := range h.entries {
			_, err := library.ParseDType(string(e.DType))
			newer = newer || err != nil
			infos = append(infos, e.Info)
		}
		laid, err := newHeader(infos, h.metadata)
		if err != nil {
			t.Fatalf("cannot be laid out: %v", err)
		}
		rewrite(t, laid, dataSize)

		content := append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), make([]byte, dataSize)...)
		if _, err := library.Deserialize(content); err != nil && !newer {
			t.Errorf("the library refuses it: %v", err)
		}
	})
}

// rewrite returns what reading the encoded header gives.
func rewrite(t *testing.T, h *header, dataSize uint16) *header {
	t.Helper()
	text, err := h.encode()
	if err != nil {
		t.Fatalf("cannot be written: %v", err)
	}
	if n := binary.LittleEndian.Uint64(text); n != uint64(len(text)-8) || n%8 != 0 {
		t.Fatalf("length is %d of a header of %d bytes", n, len(text)-8)
	}
	again, err := parseHeader(bytes.Clone(text[8:]), int64(dataSize))
	if err != nil {
		t.Fatalf("%s: cannot be read: %v", text[8:], err)
	}
	return again
}

// FuzzIndex demands of every index that is accepted that its shards are names
// beside it and that writing its weight_map and reading that gives the same.
func FuzzIndex(f *testing.F) {
	for _, seed := range []string{
		`{"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`,
		`{"weight_map":{"a":"../x"}}`, `{"weight_map":{"a":"C:\\x"}}`, `{"weight_map":{"a":"x","a":"y"}}`,
		`{"weight_map":null}`, `{"weight_map":{"a":null}}`, `{"weight_map":[[[[]]]]}`, `{"weight_map":{"\ud800":"x"}}`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		weights, err := parseIndex(bytes.Clone(text))
		if err != nil {
			return
		}
		for _, shard := range weights {
			if err := checkShardName(shard); err != nil {
				t.Errorf("%q %v", shard, err)
			}
		}
		written, err := json.Marshal(map[string]any{"weight_map": weights})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseIndex(written)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again, weights); diff != "" {
			t.Errorf("weight_map (-again +first):\n%s", diff)
		}
	})
}
