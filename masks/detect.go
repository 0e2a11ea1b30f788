package masks

// maxDetected is the largest M that ExactPattern looks for.
const maxDetected = 32

// ExactPattern returns the pattern N:M of which every group of all masks keeps
// exactly N, with the smallest M from 2 to 32, or the unstructured one.
func ExactPattern(list []*Mask) Pattern {
	for size := 2; size <= maxDetected; size++ {
		if n := exactGroups(list, size); n > 0 {
			return Pattern{NofM, n, size}
		}
	}
	return Pattern{}
}

// exactGroups returns how many weights every group of size keeps, 0 if they are
// not as many in all groups, or all or none of them.
func exactGroups(list []*Mask, size int) int {
	n := -1
	for _, m := range list {
		if m.In%size != 0 {
			return 0
		}
		for i := range m.Out {
			for g := 0; g < m.In; g += size {
				kept := 0
				for j := g; j < g+size; j++ {
					if m.Keep(i, j) {
						kept++
					}
				}
				if n < 0 {
					n = kept
				}
				if kept != n || n == 0 || n == size {
					return 0
				}
			}
		}
	}
	return max(n, 0)
}
