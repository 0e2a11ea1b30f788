package kernels

// holds reports whether s holds rows rows of cols elements with stride ld.
func holds(s []float32, ld, rows, cols int) bool {
	if rows <= 0 || cols <= 0 {
		return rows >= 0 && cols >= 0
	}
	return ld >= cols && (rows-1)*ld+cols <= len(s)
}

// must panics with message unless ok.
func must(ok bool, message string) {
	if !ok {
		panic(message)
	}
}
