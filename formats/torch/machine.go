package torch

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"
)

// Caps of the machine. A checkpoint of 100000 tensors has a pickle of about
// 15 MB and builds about 60 MB of objects.
const (
	maxPickle = 128 << 20 // bytes of one pickle
	maxBuilt  = 256 << 20 // bytes of the objects that it builds, estimated
	maxStack  = 1 << 20   // values
	maxMarks  = 1 << 16
	maxLong   = 512 // bytes of one whole number
)

// builder decides what becomes of the opcodes that would run code in Python:
// the loader refuses or carries out what it knows, the tracer writes down.
// at is the position of the opcode.
type builder interface {
	// global is an import.
	global(module, name string, at int64) (any, error)
	// call is fn(*args), kind the opcode that makes it.
	call(kind string, fn any, args tuple, at int64) (any, error)
	// build sets the state of an object that is no dict.
	build(object, state any, at int64) error
	// mutate adds items to an object that is no list, dict or set.
	mutate(kind string, object any, at int64) error
	// persistent gives the object that the container has under id.
	persistent(id any, at int64) (any, error)
}

// machine is a pickle interpreter.
type machine struct {
	in    *byteSource
	build builder

	stack []any
	marks []int // heights of the stack
	memo  map[uint64]any
	built int64
}

// unpickle runs one pickle and returns the object that it builds. in is left
// after the STOP.
func unpickle(in *byteSource, b builder) (any, error) {
	m := &machine{in: in, build: b, memo: make(map[uint64]any)}
	limit := in.pos + maxPickle
	for {
		at := in.pos
		if at >= limit {
			return nil, unsupported("pickle is longer than %d bytes", maxPickle)
		}
		op, err := in.byte()
		if err != nil {
			return nil, err
		}
		if op == opStop {
			return m.pop(at)
		}
		if err := m.step(op, at); err != nil {
			return nil, err
		}
	}
}

// step carries out one opcode.
func (m *machine) step(op byte, at int64) error {
	switch op {
	case opProto:
		v, err := m.in.byte()
		if err == nil && v > maxProtocol {
			err = unsupported("byte %d: pickle protocol %d, highest known %d", at, v, maxProtocol)
		}
		return err
	case opFrame:
		n, err := m.in.uint(8)
		if err == nil && (n > math.MaxInt64 || int64(n) > m.in.end-m.in.pos) {
			err = m.in.truncated(n)
		}
		return err
	case opMark:
		if len(m.marks) == maxMarks {
			return malformed("byte %d: more than %d open marks", at, maxMarks)
		}
		m.marks = append(m.marks, len(m.stack))
		return nil
	case opPop:
		if len(m.marks) > 0 && m.marks[len(m.marks)-1] == len(m.stack) {
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop(at)
		return err
	case opPopMark:
		_, err := m.popMark(at)
		return err
	case opDup:
		v, err := m.pop(at)
		if err != nil {
			return err
		}
		m.stack = append(m.stack, v)
		return m.push(v, 0)

	case opNone:
		return m.push(nil, 0)
	case opNewTrue:
		return m.push(true, 0)
	case opNewFalse:
		return m.push(false, 0)
	case opBinInt, opBinInt1, opBinInt2, opInt, opLong, opLong1, opLong4, opFloat, opBinFloat:
		return m.number(op, at)
	case opString, opBinString, opShortBinString, opUnicode, opBinUnicode, opShortBinUnicode, opBinUnicode8,
		opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		return m.text(op, at)

	case opEmptyTuple, opTuple1, opTuple2, opTuple3, opTuple, opEmptyList, opList, opEmptyDict, opDict,
		opEmptySet, opFrozenSet, opAppend, opAppends, opSetItem, opSetItems, opAddItems:
		return m.container(op, at)

	case opGet, opBinGet, opLongBinGet, opPut, opBinPut, opLongBinPut, opMemoize:
		return m.remember(op, at)

	case opGlobal, opStackGlobal, opReduce, opNewObj, opNewObjEx, opInst, opObj, opBuild, opPersID, opBinPersID:
		return m.outward(op, at)

	case opExt1, opExt2, opExt4:
		return unsupported("byte %d: pickle uses the extension registry of the program that wrote it", at)
	case opNextBuffer, opReadOnlyBuffer:
		return unsupported("byte %d: pickle has buffers outside itself", at)
	}
	return malformed("byte %d: %#02x is not an opcode", at, op)
}

// charge counts memory that an opcode asks for beyond its own bytes.
func (m *machine) charge(n int) error {
	m.built += int64(n)
	if m.built > maxBuilt {
		return unsupported("byte %d: pickle builds more than %d bytes of objects", m.in.pos, maxBuilt)
	}
	return nil
}

// push puts a value of about size bytes on the stack.
func (m *machine) push(v any, size int) error {
	if len(m.stack) == maxStack {
		return unsupported("byte %d: more than %d values on the stack", m.in.pos, maxStack)
	}
	m.stack = append(m.stack, v)
	return m.charge(size)
}

// floor is the height below which the values belong to an outer mark.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) pop(at int64) (any, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, malformed("byte %d: stack is empty", at)
	}
	v := m.stack[n]
	m.stack[n] = nil
	m.stack = m.stack[:n]
	return v, nil
}

func (m *machine) top(at int64) (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, malformed("byte %d: stack is empty", at)
	}
	return m.stack[len(m.stack)-1], nil
}

// popMark takes the values above the last mark, in a slice of their own.
func (m *machine) popMark(at int64) ([]any, error) {
	if len(m.marks) == 0 {
		return nil, malformed("byte %d: no mark", at)
	}
	floor := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	items := append([]any(nil), m.stack[floor:]...)
	clear(m.stack[floor:])
	m.stack = m.stack[:floor]
	return items, nil
}

// Estimated sizes of objects.
const (
	sizeSlot   = int(unsafe.Sizeof(any(nil)))
	sizeInt    = 24
	sizeText   = 40
	sizeHeader = 64
	sizeEntry  = 96
)

func (m *machine) number(op byte, at int64) error {
	switch op {
	case opBinInt1, opBinInt2:
		v, err := m.in.uint(map[byte]int{opBinInt1: 1, opBinInt2: 2}[op])
		if err != nil {
			return err
		}
		return m.push(int64(v), sizeInt)
	case opBinInt:
		v, err := m.in.uint(4)
		if err != nil {
			return err
		}
		return m.push(int64(int32(v)), sizeInt)
	case opBinFloat:
		b, err := m.in.take(8)
		if err != nil {
			return err
		}
		return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)), sizeInt)
	case opLong1, opLong4:
		n, err := m.in.uint(map[byte]int{opLong1: 1, opLong4: 4}[op])
		if err != nil {
			return err
		}
		if n > maxLong {
			return malformed("byte %d: whole number has %d bytes, limit %d", at, n, maxLong)
		}
		b, err := m.in.take(n)
		if err != nil {
			return err
		}
		return m.push(longBytes(b), sizeInt+int(n))
	}
	line, err := m.in.line()
	if err != nil {
		return err
	}
	if op == opFloat {
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(line)), 64)
		if err != nil && v == 0 {
			return malformed("byte %d: %q is not a number", at, shorten(string(line)))
		}
		return m.push(v, sizeInt)
	}
	v, err := parseInt(line, op == opLong)
	if err != nil {
		return atByte(at, err)
	}
	return m.push(v, sizeInt+len(line))
}

func (m *machine) text(op byte, at int64) error {
	if op == opString || op == opUnicode {
		line, err := m.in.line()
		if err != nil {
			return err
		}
		var v any
		if op == opString {
			v, err = parseQuoted(line)
		} else {
			v, err = parseRawUnicode(line)
		}
		if err != nil {
			return atByte(at, err)
		}
		return m.push(v, sizeText+2*len(line))
	}
	width := 4
	switch op {
	case opShortBinString, opShortBinUnicode, opShortBinBytes:
		width = 1
	case opBinUnicode8, opBinBytes8, opByteArray8:
		width = 8
	}
	n, err := m.in.uint(width)
	if err != nil {
		return err
	}
	if op == opBinString && n > math.MaxInt32 {
		return malformed("byte %d: string has the length %d", at, int32(n))
	}
	b, err := m.in.take(n)
	if err != nil {
		return err
	}
	var v any
	switch op {
	case opBinString, opShortBinString:
		v = python2String(b)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		v = string(b)
	default:
		v = bytes.Clone(b)
	}
	return m.push(v, sizeText+len(b))
}

func (m *machine) container(op byte, at int64) error {
	switch op {
	case opEmptyTuple:
		return m.push(tuple{}, 0)
	case opEmptyList:
		return m.push(&list{}, sizeHeader)
	case opEmptyDict:
		return m.push(&dict{}, sizeHeader)
	case opEmptySet:
		return m.push(&set{}, sizeHeader)
	case opTuple1, opTuple2, opTuple3:
		n := int(op-opTuple1) + 1
		if len(m.stack)-n < m.floor() {
			return malformed("byte %d: tuple of %d, the stack has %d", at, n, len(m.stack)-m.floor())
		}
		items := append(tuple(nil), m.stack[len(m.stack)-n:]...)
		clear(m.stack[len(m.stack)-n:])
		m.stack = m.stack[:len(m.stack)-n]
		return m.push(items, sizeHeader+n*sizeSlot)
	case opAppend:
		v, err := m.pop(at)
		if err != nil {
			return err
		}
		return m.extend([]any{v}, "append", at)
	case opSetItem:
		value, err := m.pop(at)
		if err != nil {
			return err
		}
		key, err := m.pop(at)
		if err != nil {
			return err
		}
		return m.extend([]any{key, value}, "setitem", at)
	}
	items, err := m.popMark(at)
	if err != nil {
		return err
	}
	switch op {
	case opTuple:
		return m.push(tuple(items), sizeHeader+len(items)*sizeSlot)
	case opList:
		return m.push(&list{items}, sizeHeader+len(items)*sizeSlot)
	case opFrozenSet:
		return m.push(&set{items}, sizeHeader+len(items)*sizeSlot)
	case opDict:
		if err := m.push(&dict{}, sizeHeader); err != nil {
			return err
		}
		return m.extend(items, "setitem", at)
	case opAppends:
		return m.extend(items, "append", at)
	case opAddItems:
		return m.extend(items, "add", at)
	}
	return m.extend(items, "setitem", at)
}

// extend adds items to the object on top of the stack.
func (m *machine) extend(items []any, kind string, at int64) error {
	to, err := m.top(at)
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *list:
		if kind == "append" {
			to.items = append(to.items, items...)
			return m.charge(2 * len(items) * sizeSlot)
		}
	case *set:
		if kind == "add" {
			to.items = append(to.items, items...)
			return m.charge(2 * len(items) * sizeSlot)
		}
	case *dict:
		if kind == "setitem" {
			if len(items)%2 != 0 {
				return malformed("byte %d: dict is given %d keys and values", at, len(items))
			}
			for i := 0; i < len(items); i += 2 {
				if err := to.put(items[i], items[i+1]); err != nil {
					return atByte(at, err)
				}
			}
			return m.charge(len(items) / 2 * sizeEntry)
		}
	}
	return m.build.mutate(kind, to, at)
}

// remember is the memo.
func (m *machine) remember(op byte, at int64) error {
	var key uint64
	var err error
	switch op {
	case opMemoize:
		key = uint64(len(m.memo))
	case opBinGet, opBinPut:
		key, err = m.in.uint(1)
	case opLongBinGet, opLongBinPut:
		key, err = m.in.uint(4)
	default:
		var line []byte
		if line, err = m.in.line(); err == nil {
			if key, err = strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 32); err != nil {
				err = malformed("byte %d: %q is not a key of the memo", at, shorten(string(line)))
			}
		}
	}
	if err != nil {
		return err
	}
	switch op {
	case opGet, opBinGet, opLongBinGet:
		v, ok := m.memo[key]
		if !ok {
			return malformed("byte %d: memo has nothing under %d", at, key)
		}
		return m.push(v, 0)
	}
	v, err := m.top(at)
	if err != nil {
		return err
	}
	m.memo[key] = v
	return m.charge(sizeEntry)
}

// outward is the opcodes that reach out of the pickle.
func (m *machine) outward(op byte, at int64) error {
	switch op {
	case opGlobal, opInst:
		module, err := m.in.line()
		if err != nil {
			return err
		}
		moduleName := string(module)
		name, err := m.in.line()
		if err != nil {
			return err
		}
		if op == opGlobal {
			return m.pushGlobal(moduleName, string(name), at)
		}
		fn, err := m.build.global(moduleName, string(name), at)
		if err != nil {
			return err
		}
		args, err := m.popMark(at)
		if err != nil {
			return err
		}
		return m.pushCall("inst", fn, args, at)
	case opStackGlobal:
		name, err := m.pop(at)
		if err != nil {
			return err
		}
		module, err := m.pop(at)
		if err != nil {
			return err
		}
		moduleName, ok := module.(string)
		attribute, ok2 := name.(string)
		if !ok || !ok2 {
			return malformed("byte %d: global is named by %s and %s", at, repr(module), repr(name))
		}
		return m.pushGlobal(moduleName, attribute, at)
	case opObj:
		items, err := m.popMark(at)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return malformed("byte %d: no class above the mark", at)
		}
		return m.pushCall("obj", items[0], items[1:], at)
	case opReduce, opNewObj, opNewObjEx:
		return m.apply(op, at)
	case opBuild:
		state, err := m.pop(at)
		if err != nil {
			return err
		}
		to, err := m.top(at)
		if err != nil {
			return err
		}
		if _, ok := to.(*dict); ok {
			return nil // attributes of an OrderedDict, such as _metadata
		}
		return m.build.build(to, state, at)
	case opPersID:
		line, err := m.in.line()
		if err != nil {
			return err
		}
		return m.pushPersistent(string(line), at)
	}
	id, err := m.pop(at)
	if err != nil {
		return err
	}
	return m.pushPersistent(id, at)
}

// apply is REDUCE, NEWOBJ and NEWOBJ_EX.
func (m *machine) apply(op byte, at int64) error {
	kind := map[byte]string{opReduce: "reduce", opNewObj: "newobj", opNewObjEx: "newobj"}[op]
	if op == opNewObjEx {
		named, err := m.pop(at)
		if err != nil {
			return err
		}
		if d, ok := named.(*dict); !ok || len(d.entries) > 0 {
			kind = "newobj with named arguments"
		}
	}
	args, err := m.pop(at)
	if err != nil {
		return err
	}
	list, ok := args.(tuple)
	if !ok {
		return malformed("byte %d: arguments are a %s, not a tuple", at, typeName(args))
	}
	fn, err := m.pop(at)
	if err != nil {
		return err
	}
	return m.pushCall(kind, fn, list, at)
}

func (m *machine) pushGlobal(module, name string, at int64) error {
	v, err := m.build.global(module, name, at)
	if err != nil {
		return err
	}
	return m.push(v, sizeHeader+len(module)+len(name))
}

func (m *machine) pushCall(kind string, fn any, args tuple, at int64) error {
	v, err := m.build.call(kind, fn, args, at)
	if err != nil {
		return err
	}
	return m.push(v, 2*sizeHeader)
}

func (m *machine) pushPersistent(id any, at int64) error {
	v, err := m.build.persistent(id, at)
	if err != nil {
		return err
	}
	return m.push(v, 2*sizeHeader)
}

// asInt returns a whole number that fits.
func asInt(v any) (int64, bool) {
	n, ok := v.(int64)
	return n, ok
}
