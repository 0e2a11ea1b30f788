package kernels

import (
	"math"
	"sync"
)

// Attention walks blocks of at most attnQueries queries against blocks of at
// most attnKeys keys, whole tiles of the set both: 64 × 256 scores are 64 KiB.
// The sizes are part of the result's definition.
const (
	attnQueries = 64
	attnKeys    = 256
)

// head is one (batch, head) pair: its rows of qkv and the scratch it works in.
type head struct {
	set     *Set
	t, hs   int
	q, k, v []float32 // t rows of hs with stride ld
	ld      int
	rows    int // queries of a block, a multiple of MR
	keys    int // keys of a block, a multiple of NR
	width   int // hs rounded up to NR: one summed index of a packed value
	scale   float32

	workspace
	queries []float32 // (rows, hs), scaled
	packed  []float32 // the left operand of the product at hand
	edge    []float32 // a tile that hangs over the rim
}

// headPool keeps heads for the next call, one for every thread that had one.
type headPool struct {
	mu   sync.Mutex
	free []*head
}

var heads headPool

// borrowHead returns the head whose rows start at qkv, until giveBack.
func borrowHead(set *Set, qkv []float32, ld, c, t, hs int) *head {
	h := heads.take()
	*h = head{
		set: set, t: t, hs: hs,
		q: qkv, k: qkv[c:], v: qkv[2*c:], ld: ld,
		rows:      attnQueries / set.MR * set.MR,
		keys:      attnKeys / set.NR * set.NR,
		width:     roundUp(hs, set.NR),
		scale:     float32(1 / math.Sqrt(float64(hs))),
		workspace: h.workspace,
	}
	h.queries = h.take(h.rows * hs)
	h.packed = h.take(max(
		packedLen(h.rows, set.MR, max(hs, h.keys)),
		packedLen(h.keys, set.MR, h.rows),
	))
	h.edge = h.take(set.MR * set.NR)
	return h
}

func (p *headPool) take() *head {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	if last < 0 {
		return new(head)
	}
	h := p.free[last]
	p.free = p.free[:last]
	return h
}

// giveBack returns h and its buffers.
func (h *head) giveBack() {
	h.release()
	*h = head{workspace: h.workspace}
	heads.mu.Lock()
	heads.free = append(heads.free, h)
	heads.mu.Unlock()
}

// attentionArgs are the arguments of AttentionForward and AttentionBackward.
type attentionArgs struct {
	set                       *Set
	dst, lse, qkv, dout, dqkv []float32
	t, nh, hs, c              int
}

var attentionCalls calls[attentionArgs]

// AttentionForward is causal multi-head attention. For every sequence and head,
// with q_i, k_j, v_j the rows of its three parts of qkv:
//
//	s[i,j]   = q_i·k_j / sqrt(hs)  for j <= i
//	lse[i]   = log(sum over j of exp(s[i,j]))
//	dst[i,:] = sum over j of exp(s[i,j]-lse[i]) * v_j
//
// qkv is (b, t, 3*C) with C = nh*hs, laid out q, k, v and heads inside; dst is
// (b, t, C); lse is (b, nh, t) and is kept for AttentionBackward. Scores exist
// for one block of 64 × about 256 at a time. It panics if a slice is too short.
//
// Source: Dao, "FlashAttention-2", 2023, algorithm 1.
func AttentionForward(dst, lse, qkv []float32, b, t, nh, hs int) {
	c := nh * hs
	must(b >= 0 && t >= 0 && nh >= 0 && hs >= 0, "kernels: AttentionForward: negative size")
	must(len(qkv) >= b*t*3*c, "kernels: AttentionForward: qkv does not hold b × t × 3c")
	must(len(dst) >= b*t*c, "kernels: AttentionForward: dst does not hold b × t × c")
	must(len(lse) >= b*nh*t, "kernels: AttentionForward: lse does not hold b × nh × t")
	if b*t*c == 0 {
		return
	}
	args := attentionArgs{set: current, dst: dst, lse: lse, qkv: qkv, t: t, nh: nh, hs: hs, c: c}
	attentionCalls.parallel(b*nh, args, (*attentionArgs).forward)
}

// at returns where head i of a batch starts in (b, t, C) and in (b, t, 3*C).
func (a *attentionArgs) at(i int) (out, qkv int) {
	row, n := i/a.nh*a.t, i%a.nh*a.hs
	return row*a.c + n, row*3*a.c + n
}

func (a *attentionArgs) forward(i int) {
	out, qkv := a.at(i)
	h := borrowHead(a.set, a.qkv[qkv:], 3*a.c, a.c, a.t, a.hs)
	h.forward(a.dst[out:], a.c, a.lse[i*a.t:(i+1)*a.t])
	h.giveBack()
}

// forward computes one head into dst, whose row stride is ldd.
func (h *head) forward(dst []float32, ldd int, lse []float32) {
	set, hs := h.set, h.hs
	keys := h.packKeys(h.k)
	values := h.packByBlock(h.v)
	scores := h.take(h.rows * h.keys)
	sums := h.take(h.rows * hs)
	var shift [attnQueries]float32
	var total [attnQueries]float64
	for i := 0; i < h.t; i += h.rows {
		rows := min(h.rows, h.t-i)
		h.scaleQueries(i, rows)
		acc := sums[:rows*hs]
		clear(acc)
		for r := range rows {
			shift[r], total[r] = float32(math.Inf(-1)), 0
		}
		// Keys from i+rows on lie in the future of every row.
		for j := 0; j < i+rows; j += h.keys {
			cols := min(h.keys, i+rows-j)
			s := scores[:rows*cols]
			h.product(s, matrix{h.queries, hs, false}, keys[j*hs:], hs, rows, cols, hs)
			for r := range rows {
				row := s[r*cols : (r+1)*cols]
				seen := max(0, min(cols, i+r-j+1))
				clear(row[seen:])
				if seen > 0 {
					softmaxBlock(set, row[:seen], acc[r*hs:(r+1)*hs], &shift[r], &total[r])
				}
			}
			pack(set, h.packed, set.MR, matrix{s, cols, false}, 0, rows, 0, cols)
			multiplyPacked(set, &attentionWork, acc, hs, h.packed, values[j*h.width:], min(h.keys, h.t-j), rows, hs, cols, true, h.edge)
		}
		for r := range rows {
			out := dst[(i+r)*ldd:][:hs]
			copy(out, acc[r*hs:])
			set.Scale(out, float32(1/total[r]))
			lse[i+r] = float32(float64(shift[r]) + logRef(total[r]))
		}
	}
}

// softmaxBlock turns the scores of one row of a block into exp(s-shift) and
// adds their sum to total. If the block holds a new largest score, shift moves
// there, and what was summed before shrinks to match.
func softmaxBlock(set *Set, row, acc []float32, shift *float32, total *float64) {
	if m := set.Max(row); m > *shift {
		if *total > 0 {
			f := expRef(float64(*shift) - float64(m))
			set.Scale(acc, float32(f))
			*total *= f
		}
		*shift = m
	}
	s := *shift
	if math.IsInf(float64(s), -1) {
		s = 0 // all scores so far are -Inf: their exponentials are 0, not NaN
	}
	*total += float64(set.ExpSum(row, row, s))
}

// scaleQueries copies queries i to i+rows, times 1/sqrt(hs).
func (h *head) scaleQueries(i, rows int) {
	for r := range rows {
		copy(h.queries[r*h.hs:(r+1)*h.hs], h.q[(i+r)*h.ld:])
	}
	h.set.Scale(h.queries[:rows*h.hs], h.scale)
}

// packKeys packs all rows of x (t, hs) as the right operand of a product that
// sums over hs: rows j and up, j a multiple of NR, start at j*hs.
func (h *head) packKeys(x []float32) []float32 {
	dst := h.take(packedLen(h.t, h.set.NR, h.hs))
	pack(h.set, dst, h.set.NR, matrix{x, h.ld, false}, 0, h.t, 0, h.hs)
	return dst
}

// packByBlock packs x (t, hs) as the right operand of products that sum over
// the keys of a block: the block of key j starts at j*width.
func (h *head) packByBlock(x []float32) []float32 {
	dst := h.take(h.t * h.width)
	for j := 0; j < h.t; j += h.keys {
		pack(h.set, dst[j*h.width:], h.set.NR, matrix{x, h.ld, true}, 0, h.hs, j, min(h.keys, h.t-j))
	}
	return dst
}

// product computes c (m, n) = a b for a packed b of kc summed indices.
func (h *head) product(c []float32, a matrix, b []float32, packedKC, m, n, kc int) {
	pack(h.set, h.packed, h.set.MR, a, 0, m, 0, kc)
	multiplyPacked(h.set, &attentionWork, c, n, h.packed, b, packedKC, m, n, kc, false, h.edge)
}
