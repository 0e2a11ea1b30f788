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

// pack writes elements (i, p), i0 <= i < i0+count, p0 <= p < p0+kc, of m to dst
// as panels of width, each (kc, width).
func pack(set *Set, dst []float32, width int, m matrix, i0, count, p0, kc int) {
	if m.sumMajor {
		packSumMajor(set, dst, width, m, i0, count, p0, kc)
		return
	}
	for i := 0; i < count; i += width {
		panel := dst[i*kc:][:kc*width]
		if count-i < width {
			clear(panel)
		}
		set.Transpose(panel, width, m.data[(i0+i)*m.ld+p0:], m.ld, min(width, count-i), kc)
	}
}

// packRun is the number of rows of the source that are copied to one panel
// before the next: their pages stay in the translation buffer.
const packRun = 16

// packSumMajor reads along the rows of the source, so many at a time that a
// page of memory serves many panels.
func packSumMajor(set *Set, dst []float32, width int, m matrix, i0, count, p0, kc int) {
	if last := count - count%width; last < count {
		clear(dst[last*kc:][:kc*width])
	}
	for p := 0; p < kc; p += packRun {
		run := min(packRun, kc-p)
		rows := m.data[(p0+p)*m.ld+i0:]
		for i := 0; i < count; i += width {
			set.CopyRows(dst[i*kc+p*width:], width, rows[i:], m.ld, run, min(width, count-i))
		}
	}
}

// packedLen is the length of a packed operand of count rows of kc.
func packedLen(count, width, kc int) int { return ceilDiv(count, width) * width * kc }

// multiplyPacked adds the product of packed operands to c (m, n) or, unless
// add, writes it there. A panel of A stays in the first-level cache while those
// of B, which are wider, come from the second. B may have been packed with more
// summed indices than the kc that count: packedKC. edge is scratch of MR*NR for
// tiles that hang over the rim.
func multiplyPacked(set *Set, work *workCount, c []float32, ldc int, a, b []float32, packedKC, m, n, kc int, add bool, edge []float32) {
	mr, nr := set.MR, set.NR
	work.add(m*n*kc, roundUp(m, mr)*roundUp(n, nr)*kc)
	for i := 0; i < m; i += mr {
		ap := a[i*kc:][:mr*kc]
		for j := 0; j < n; j += nr {
			bp := b[j*packedKC:][:nr*kc]
			if i+mr <= m && j+nr <= n {
				set.Tile(c[i*ldc+j:], ldc, ap, bp, kc, add)
				continue
			}
			set.Tile(edge, nr, ap, bp, kc, false)
			for r := range min(mr, m-i) {
				row := c[(i+r)*ldc+j:][:min(nr, n-j)]
				if add {
					set.Add(row, row, edge[r*nr:][:len(row)])
				} else {
					copy(row, edge[r*nr:])
				}
			}
		}
	}
}
