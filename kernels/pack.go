package kernels

// Packed operands. A is cut into panels of MR rows, B into panels of NR
// columns; inside a panel the k index runs outside, so that Tile reads both
// forward. The last panel is filled up with zeros: what they produce is
// thrown away.

// matrix is one operand of a product as packing sees it: element (i, p) of A,
// or (j, p) of B, where p is the index that is summed over.
type matrix struct {
	data []float32
	ld   int
	// sumMajor says that element (i, p) is data[p*ld+i]; otherwise it is
	// data[i*ld+p].
	sumMajor bool
}

// tiling is what packing and the loop over tiles need to know of a set.
type tiling struct {
	set    *Set
	mr, nr int
	per    int // summed indices in a word of a packed operand
	tile   func(c []float32, ldc int, a, b []float32, kc int, add bool, next []float32)
	// rows packs an operand that is sumMajor, columns any other.
	rows, columns func(dst []float32, ldd int, src []float32, lds int, rows, cols int)
}

// tiling returns how the set multiplies in a precision.
func (s *Set) tiling(p Precision) tiling {
	if p == F32 {
		return tiling{s, s.MR, s.NR, 1, s.Tile, s.CopyRows, s.Transpose}
	}
	must(s.BF16 != nil, "kernels: the set in use has no bf16 products")
	b := s.BF16
	return tiling{s, b.MR, b.NR, 2, b.Tile, b.PairRows, b.PairColumns}
}

// pack is tiling.pack of float32.
func pack(set *Set, dst []float32, width int, m matrix, i0, count, p0, kc int) {
	set.tiling(F32).pack(dst, width, m, i0, count, p0, kc)
}

// pack writes elements (i, p), i0 <= i < i0+count, p0 <= p < p0+kc, of m to dst
// as panels of width, each (words, width).
func (t tiling) pack(dst []float32, width int, m matrix, i0, count, p0, kc int) {
	if m.sumMajor {
		t.packSumMajor(dst, width, m, i0, count, p0, kc)
		return
	}
	words := ceilDiv(kc, t.per)
	for i := 0; i < count; i += width {
		panel := dst[i*words:][:words*width]
		if count-i < width {
			clear(panel)
		}
		for r := 0; r < min(width, count-i); r += packRows {
			t.columns(panel[r:], width, m.data[(i0+i+r)*m.ld+p0:], m.ld, min(packRows, width-r, count-i-r), kc)
		}
	}
}

// packRows is the number of rows of the source that are transposed beside each
// other, so few that the streams of the prefetcher and, where every row lies in a
// page of its own, the translation buffer hold them.
const packRows = 16

// packRun is the number of rows of the source that are copied to one panel
// before the next: their pages stay in the translation buffer. It is even.
const packRun = 16

// packSumMajor reads along the rows of the source, so many at a time that a
// page of memory serves many panels.
func (t tiling) packSumMajor(dst []float32, width int, m matrix, i0, count, p0, kc int) {
	words := ceilDiv(kc, t.per)
	if last := count - count%width; last < count {
		clear(dst[last*words:][:words*width])
	}
	for p := 0; p < kc; p += packRun {
		run := min(packRun, kc-p)
		rows := m.data[(p0+p)*m.ld+i0:]
		for i := 0; i < count; i += width {
			t.rows(dst[i*words+p/t.per*width:], width, rows[i:], m.ld, run, min(width, count-i))
		}
	}
}

// packedLen is the length of a packed operand of count rows of kc.
func packedLen(count, width, kc int) int { return ceilDiv(count, width) * width * kc }

// multiplyPacked is tiling.multiply of float32, counted as work.
func multiplyPacked(set *Set, work *workCount, c []float32, ldc int, a, b []float32, packedKC, m, n, kc int, add bool, edge []float32) {
	work.add(m*n*kc, roundUp(m, set.MR)*roundUp(n, set.NR)*kc)
	set.tiling(F32).multiply(c, ldc, a, b, packedKC, m, n, kc, add, edge)
}

// multiply adds the product of packed operands to c (m, n) or, unless add,
// writes it there. kc is in words. A panel of A stays in the first-level cache
// while those of B, which are wider, come from the second; the last tile of a row
// fetches the next panel of A there. B may have been packed with more words than
// the kc that count: packedKC. edge is scratch of mr*nr for tiles that hang over
// the rim.
func (t tiling) multiply(c []float32, ldc int, a, b []float32, packedKC, m, n, kc int, add bool, edge []float32) {
	mr, nr := t.mr, t.nr
	for i := 0; i < m; i += mr {
		ap := a[i*kc:][:mr*kc]
		for j := 0; j < n; j += nr {
			bp := b[j*packedKC:][:nr*kc]
			next := bp
			if j+nr >= n && i+mr < m {
				next = a[(i+mr)*kc:]
			}
			if i+mr <= m && j+nr <= n {
				t.tile(c[i*ldc+j:], ldc, ap, bp, kc, add, next)
				continue
			}
			t.tile(edge, nr, ap, bp, kc, false, next)
			for r := range min(mr, m-i) {
				row := c[(i+r)*ldc+j:][:min(nr, n-j)]
				if add {
					t.set.Add(row, row, edge[r*nr:][:len(row)])
				} else {
					copy(row, edge[r*nr:])
				}
			}
		}
	}
}
