package torch

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// run unpickles a text and writes the result as Python would.
func run(pickle string) (string, error) {
	v, err := unpickle(bytesSource([]byte(pickle)), &loader{})
	if err != nil {
		return "", err
	}
	return repr(v), nil
}

// TestOpcodes runs each opcode at least once. What Python makes of the pickles
// is written beside them: pickle.loads, Python 3.11, encoding latin1.
func TestOpcodes(t *testing.T) {
	for _, tc := range []struct{ name, pickle, want string }{
		{"protocol 0 numbers", "(I1\nI01\nI00\nL12L\nL-5\nF1.5\nF-1e3\nt.", "(1, True, False, 12, -5, 1.5, ...)"},
		{"hexadecimal is no number of protocol 0 here", "(L99999999999999999999L\nI-3\nt.", "(99999999999999999999, -3)"},
		{"binary numbers", "\x80\x02(K\xffM\x01\x02J\xff\xff\xff\xffG\x3f\xf8\x00\x00\x00\x00\x00\x00\x8a\x01\xff\x8a\x00t.", "(255, 513, -1, 1.5, -1, 0)"},
		{"long", "\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", "18446744073709551616"},
		{"negative long", "\x80\x02\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff.", "-18446744073709551616"},
		{"constants", "(N\x88\x89t.", "(None, True, False)"},
		{"quoted", `(S'a\x41\101\n'` + "\nS\"b'\"\nt.", `('aAA` + "\uFFFD" + `', "b'")`},
		{"text", "(Va\\u00e9\\U0001F600b\n\x8c\x01xX\x01\x00\x00\x00yT\x01\x00\x00\x00zU\x01w\x8d\x01\x00\x00\x00\x00\x00\x00\x00vt.", "('aé\U0001F600b', 'x', 'y', 'z', 'w', 'v')"},
		{"bytes", "(B\x01\x00\x00\x00aC\x01b\x8e\x01\x00\x00\x00\x00\x00\x00\x00c\x96\x01\x00\x00\x00\x00\x00\x00\x00dt.", "(b'a', b'b', b'c', b'd')"},
		{"bytes of Python 2", "U\x02\xff\xfe.", "b'\uFFFD'"},
		{"tuples", "()K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87t.", "((), (1), (1, 2), (1, 2, 3))"},
		{"lists", "(](K\x01K\x02e(K\x03l]K\x04at.", "([1, 2], [3], [4])"},
		{"dicts", "(}(K\x01K\x02u(K\x03K\x04d}K\x05K\x06st.", "({1: 2}, {3: 4}, {5: 6})"},
		{"last value, first place", "}(K\x01K\x02K\x03K\x04K\x01K\x05u.", "{1: 5, 3: 4}"},
		{"True is 1", "}(\x88K\x02K\x01K\x04u.", "{1: 4}"},
		{"sets", "(\x8f(K\x01\x90(K\x02\x91t.", "({1}, {2})"},
		{"stack", "(K\x01K\x020(K\x0312t.", "(1, 1)"},
		{"pop takes a mark", "((0K\x01t.", "(1)"},
		{"memo", "(K\x01q\x05K\x02r\x06\x00\x00\x00K\x03p7\n\x94h\x05j\x06\x00\x00\x00g7\nh\x03t.", "(1, 2, 3, 1, 2, 3, ...)"},
		{"frame", "\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.", "1"},
		{"ordered dict", "ccollections\nOrderedDict\n)R(K\x01K\x02u}(X\x01\x00\x00\x00aK\x01ub.", "{1: 2}"},
		{"ordered dict of Python 2", "ccollections\nOrderedDict\n(]](K\x01K\x02eatR.", "{1: 2}"},
		{"default dict", "ccollections\ndefaultdict\n(c__builtin__\nlist\ntR.", "{}"},
		{"set of Python 2", "c__builtin__\nset\n(](K\x01etR.", "{1}"},
		{"bytes of protocol 2", "c_codecs\nencode\n(X\x03\x00\x00\x00a\xc3\xbfX\x06\x00\x00\x00latin1tR.", "b'a\uFFFD'"},
		{"stack global", "\x8c\x0bcollections\x8c\x0bOrderedDict\x93)\x81.", "{}"},
		{"newobj with no named arguments", "\x8c\x0bcollections\x8c\x0bOrderedDict\x93)}\x92.", "{}"},
		{"inst", "(icollections\nOrderedDict\n.", "{}"},
		{"obj", "(ccollections\nOrderedDict\no.", "{}"},
		{"namespace", "cargparse\nNamespace\n)\x81}(X\x01\x00\x00\x00aK\x01ub.", "<argparse.Namespace>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := run(tc.pickle)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestHostilePickles(t *testing.T) {
	const evil = "\x8c\x05posix\x8c\x06system\x93"
	for _, tc := range []struct{ name, pickle, want string }{
		{"empty", "", "byte 0: 1 bytes are wanted, 0 are left"},
		{"no such opcode", "\xff.", "0xff is not an opcode"},
		{"end without stop", "K\x01", "unexpected EOF"},
		{"protocol 6", "\x80\x06.", "protocol 6, highest known 5"},
		{"stop on nothing", ".", "stack is empty"},
		{"pop on nothing", "0.", "stack is empty"},
		{"pop below the mark", "K\x01(a.", "stack is empty"},
		{"stop below the mark", "K\x01(.", "stack is empty"},
		{"tuple below the mark", "K\x01(\x85.", "tuple of 1, the stack has 0"},
		{"no mark", "t.", "no mark"},
		{"unicode of 2^63 bytes", "\x8d\x00\x00\x00\x00\x00\x00\x00\x80.", "9223372036854775808 bytes are wanted"},
		{"unicode of 2^64-1 bytes", "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "18446744073709551615 bytes are wanted"},
		{"bytes of 2^63 bytes", "\x8e\x00\x00\x00\x00\x00\x00\x00\x80.", "bytes are wanted"},
		{"bytearray of 2^63 bytes", "\x96\x00\x00\x00\x00\x00\x00\x00\x80.", "bytes are wanted"},
		{"frame of 2^63 bytes", "\x95\x00\x00\x00\x00\x00\x00\x00\x80.", "bytes are wanted"},
		{"frame past the end", "\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01.", "5 bytes are wanted, 3 are left"},
		{"string of 2^31 bytes", "T\x00\x00\x00\x80.", "has the length -2147483648"},
		{"long of 2^31 bytes", "\x8b\x00\x00\x00\x80.", "has 2147483648 bytes, limit 512"},
		{"endless line", "I" + strings.Repeat("1", 100000), "line does not end"},
		{"long number", "L" + strings.Repeat("1", 2000) + "\n.", "has 2000 digits, limit 1000"},
		{"number with underscores", "L1_000\n.", "is not a whole number"},
		{"no number", "Ix\n.", "is not a whole number"},
		{"no float", "Fx\n.", "is not a number"},
		{"memo of nothing", "h\x00.", "memo has nothing under 0"},
		{"memo on nothing", "q\x00.", "stack is empty"},
		{"key of the memo", "K\x01px\n.", "is not a key of the memo"},
		{"negative key of the memo", "K\x01p-1\n.", "is not a key of the memo"},
		{"odd items", "}(K\x01u.", "dict is given 1 keys and values"},
		{"unhashable key", "}]K\x01s.", "key of a dict is a list"},
		{"append to a dict", "}K\x01a.", "append on a dict"},
		{"set item of a list", "]K\x01K\x02s.", "setitem on a list"},
		{"add to a list", "](K\x01\x90.", "add on a list"},
		{"state of a number", "K\x01}b.", "a int is given a state"},
		{"call of a number", "K\x01)R.", "call of a int"},
		{"arguments that are no tuple", "ccollections\nOrderedDict\n]R.", "arguments are a list"},
		{"global named by numbers", "K\x01K\x02\x93.", "global is named by 1 and 2"},
		{"quotes", "Sa\n.", "is not in quotes"},
		{"cut escape", "S'\\x4'\n.", `bad \x escape`},
		{"cut unicode escape", "V\\u12\n.", `cut \u escape`},
		{"rune past the last", "V\\UFFFFFFFF\n.", `bad \U escape`},
		{"extension", "\x82\x01.", "extension registry"},
		{"buffer", "\x97.", "buffers outside itself"},
		{"persistent id", "Px\n.", "where there can be none"},
		{"open marks", strings.Repeat("(", 70000), "more than 65536 open marks"},
		{"high stack", strings.Repeat("N", 1<<20+1), "more than 1048576 values on the stack"},
		{"many objects", strings.Repeat("]0", 5<<20) + "N.", "builds more than 268435456 bytes of objects"},
		{"deep nesting ends at the stack", strings.Repeat("]", 1<<20+1), "more than 1048576 values on the stack"},

		{"evil by global", "cposix\nsystem\n(S'true'\ntR.", `refers to "posix.system"`},
		{"evil by stack global", evil + "(\x8c\x04truetR.", `refers to "posix.system"`},
		{"evil by inst", "(S'true'\niposix\nsystem\n.", `refers to "posix.system"`},
		{"evil by a dotted name", "\x8c\x05torch\x8c\x17serialization.os.system\x93(\x8c\x04truetR.", `refers to "torch.serialization.os.system"`},
		{"evil by a dotted module", "ctorch.serialization.os\nsystem\n)R.", `refers to "torch.serialization.os.system"`},
		{"evil in front of what is malformed", "cposix\nsystem\n(S'true'\ntR\xff", `refers to "posix.system"`},
		{"a module that only looks like one", "ctorch._utils \n_rebuild_tensor_v2\n.", `refers to "torch._utils ._rebuild_tensor_v2"`},
		{"getattr", "c__builtin__\ngetattr\n.", `refers to "__builtin__.getattr"`},
		{"eval", "cbuiltins\neval\n.", `refers to "builtins.eval"`},
		{"a nested load", "ctorch.storage\n_load_from_bytes\n.", `refers to "torch.storage._load_from_bytes"`},
		{"call of what is only a name", "cbuiltins\nstr\n(K\x01tR.", `refers to "builtins.str"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := run(tc.pickle)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, %v; want %q in the error", got, err, tc.want)
			}
		})
	}
}

// TestFlattenHostile: what is small in a pickle but large, or endless, in names.
func TestFlattenHostile(t *testing.T) {
	bomb := "}q\x00"
	for range 40 { // each dict holds the one before twice
		bomb += "}(K\x01h\x00K\x02h\x00uq\x00"
	}
	for _, tc := range []struct{ name, pickle, want string }{
		{"list that holds itself", "]q\x00h\x00a.", "nested more than 64 deep"},
		{"dict that holds itself", "}q\x00K\x01h\x00s.", "nested more than 64 deep"},
		{"shared dicts", bomb + ".", "more than 2097152 values"},
		{"long names", "}X\xa0\x0f\x00\x00" + strings.Repeat("k", 4000) + "](" + strings.Repeat("N", 20000) + "es.", "names have more than"},
		{"list that holds itself twice", "]q\x00(h\x00h\x00e.", "deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := unpickle(bytesSource([]byte(tc.pickle)), &loader{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := flatten(v); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// TestTensors checks views against storages.
func TestTensors(t *testing.T) {
	float := &storage{key: "0", elem: elems["float32"], count: 48}
	untyped := &storage{key: "0", elem: elems["uint8"], count: 48}
	one := int64(1)
	for _, tc := range []struct {
		name string
		s    *storage
		e    *elem
		args tuple // offset, size, stride
		want string
	}{
		{"fits", float, elems["float32"], tuple{int64(0), tuple{int64(6), int64(8)}, tuple{int64(8), one}}, ""},
		{"one too far", float, elems["float32"], tuple{one, tuple{int64(6), int64(8)}, tuple{int64(8), one}}, "leaves its storage of 48 elements"},
		{"untyped storage counts bytes", untyped, elems["float32"], tuple{int64(0), tuple{int64(12)}, tuple{one}}, ""},
		{"untyped, one too far", untyped, elems["float32"], tuple{int64(0), tuple{int64(13)}, tuple{one}}, "leaves its storage of 12 elements"},
		{"empty, far out", float, elems["float32"], tuple{int64(1 << 40), tuple{int64(0)}, tuple{one}}, ""},
		{"negative size", float, elems["float32"], tuple{int64(0), tuple{int64(-1)}, tuple{one}}, "size of a tensor has -1"},
		{"negative stride", float, elems["float32"], tuple{int64(5), tuple{int64(2)}, tuple{int64(-1)}}, "stride of a tensor has -1"},
		{"negative offset", float, elems["float32"], tuple{int64(-1), tuple{}, tuple{}}, "storage offset -1"},
		{"huge", float, elems["float32"], tuple{int64(0), tuple{int64(math.MaxInt64), int64(math.MaxInt64)}, tuple{int64(math.MaxInt64), int64(math.MaxInt64)}}, "leaves its storage"},
		{"repeated a little", float, elems["float32"], tuple{int64(0), tuple{int64(1 << 20)}, tuple{int64(0)}}, ""},
		{"repeated without end", float, elems["float32"], tuple{int64(0), tuple{int64(1 << 40)}, tuple{int64(0)}}, "repeats a storage"},
		{"repeated past int64", float, elems["float32"], tuple{int64(0), tuple{int64(1 << 40), int64(1 << 40)}, tuple{int64(0), int64(0)}}, "more than"},
		{"rank", float, elems["float32"], tuple{int64(0), tuple{one}, tuple{}}, "1 sizes and 0 strides"},
		{"number that is none", float, elems["float32"], tuple{"x", tuple{}, tuple{}}, "storage offset 'x'"},
		{"number past int64", float, elems["float32"], tuple{int64(0), tuple{new(big.Int).Lsh(big.NewInt(1), 70)}, tuple{one}}, "size of a tensor has 1180591620717411303424"},
		{"size that is none", float, elems["float32"], tuple{int64(0), "x", tuple{one}}, "size of a tensor is a str"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newTensor(tc.s, tc.e, tc.args[0], tc.args[1], tc.args[2])
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// TestMathBits: a view that negates its storage must not be read as it is.
func TestMathBits(t *testing.T) {
	s := &storage{key: "0", elem: elems["complex64"], count: 4}
	for _, tc := range []struct {
		metadata any
		refused  bool
	}{{nil, false}, {&dict{}, false}, {&dict{entries: []entry{{"conj", true}}}, true}, {&dict{entries: []entry{{"neg", true}}}, true}, {&dict{entries: []entry{{"neg", false}}}, false}} {
		v, err := rebuildTensorV2(tuple{s, int64(0), tuple{int64(4)}, tuple{int64(1)}, false, &dict{}, tc.metadata})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := v.(*refused); ok != tc.refused {
			t.Errorf("metadata %s: refused %v, want %v", repr(tc.metadata), ok, tc.refused)
		}
	}
}

func TestScanPickles(t *testing.T) {
	type finding struct {
		what string
		ok   bool
	}
	for _, tc := range []struct {
		name, pickle string
		want         []finding
		malformed    bool
	}{
		{"plain", "}(K\x01K\x02u.", nil, false},
		{"allowed", "ccollections\nOrderedDict\n)R(K\x01K\x02u.", []finding{{"import collections.OrderedDict", true}, {"call collections.OrderedDict()", true}}, false},
		{"evil", "cposix\nsystem\n(S'true'\ntR.", []finding{{"import posix.system", false}, {"call posix.system('true')", false}}, false},
		{"twice, different", "(cposix\nsystem\nq\x00(S'a'\ntRh\x00(S'b'\ntRt.",
			[]finding{{"import posix.system", false}, {"call posix.system('a')", false}, {"call posix.system('b')", false}}, false},
		{"in front of what is malformed", "cposix\nsystem\n(S'true'\ntR\xff", []finding{{"import posix.system", false}, {"call posix.system('true')", false}}, true},
		{"import alone", "cantigravity\nx\n0N.", []finding{{"import antigravity.x", false}}, false},
		{"name from the memo", "\x8c\x06system\x94\x8c\x05posix\x94h\x00\x93)R.", []finding{{"import posix.system", false}, {"call posix.system()", false}}, false},
		{"getattr of an allowed module", "cbuiltins\ngetattr\n(ctorch\nTensor\nX\x01\x00\x00\x00xtR)R.",
			[]finding{{"import builtins.getattr", false}, {"import torch.Tensor", true}, {"call builtins.getattr(<torch.Tensor>, 'x')", false}, {"call the result of builtins.getattr()", false}}, false},
		{"state of an object", "cevil\nC\n)\x81K\x01b.", []finding{{"import evil.C", false}, {"call evil.C()", false}, {"build evil.C1", false}}, false},
		{"state of a class", "ctorch\nTensor\n}b.", []finding{{"import torch.Tensor", true}, {"build a torch.Tensor{}", false}}, false},
		{"items of an object", "cevil\nC\n)R(K\x01e.", []finding{{"import evil.C", false}, {"call evil.C()", false}, {"mutate evil.Cappend", false}}, false},
		{"inst", "(S'true'\niposix\nsystem\n.", []finding{{"import posix.system", false}, {"call posix.system('true')", false}}, false},
		{"obj", "(cposix\nsystem\nS'true'\no.", []finding{{"import posix.system", false}, {"call posix.system('true')", false}}, false},
		{"extension", "\x82\x01.", nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := ScanPickle(bytes.NewReader([]byte(tc.pickle)), "", 0, int64(len(tc.pickle)))
			var got []finding
			safe := !tc.malformed
			for _, f := range p.Findings {
				got = append(got, finding{f.Action + " " + f.Global + f.Args, f.Allowed})
				safe = safe && f.Allowed
			}
			if diff := cmp.Diff(got, tc.want, cmp.AllowUnexported(finding{})); diff != "" {
				t.Errorf("findings (-got +want):\n%s", diff)
			}
			if (p.Err != nil) != tc.malformed || p.Safe() != safe {
				t.Errorf("error %v, safe %v; want malformed %v, safe %v", p.Err, p.Safe(), tc.malformed, safe)
			}
		})
	}
}

func TestScanIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		b.WriteString("cm\nf" + big.NewInt(int64(i)).String() + "\n0")
	}
	p := ScanPickle(strings.NewReader(b.String()+"N."), "", 0, int64(b.Len()+2))
	if len(p.Findings) != maxFindings || !errors.Is(p.Err, ErrUnsupported) || p.Safe() {
		t.Errorf("%d findings, %v", len(p.Findings), p.Err)
	}
}

// TestByteSource reads across the end of the window.
func TestByteSource(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789\n"), 3*window/11)
	in := bytesSource(data)
	var got []byte
	for in.pos < in.end {
		switch in.pos % 3 {
		case 0:
			line, err := in.line()
			if err != nil {
				t.Fatal(err)
			}
			got = append(append(got, line...), '\n')
		case 1:
			part, err := in.take(uint64(min(7, in.end-in.pos)))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		default:
			c, err := in.byte()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("read something else")
	}
	in = bytesSource(data)
	part, err := in.take(2*window + 5)
	if err != nil || !bytes.Equal(part, data[:2*window+5]) {
		t.Errorf("take: %d bytes, %v", len(part), err)
	}
	if err := in.advance(3); err != nil || in.pos != 2*window+8 {
		t.Errorf("advance: at %d, %v", in.pos, err)
	}
	if c, err := in.byte(); err != nil || c != data[2*window+8] {
		t.Errorf("byte: %q, %v", c, err)
	}
	if err := in.advance(int64(len(data))); err == nil {
		t.Error("advanced past the end")
	}
	if err := in.advance(-1); err == nil {
		t.Error("advanced back")
	}
}
