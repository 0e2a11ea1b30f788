package main

// emitAdamW writes the optimizer step. It is bound by memory, so it rounds
// where the reference rounds, without fused multiply-adds: every set updates a
// weight to the same bits.
func emitAdamW(g *gen) { g.eachWidth(emitAdamWLoop) }

func emitAdamWLoop(s *simd) {
	s.function("adamW"+s.suffix, "func(w, grad, m, v []float32, decay, beta2, rest1, rest2, step, root, eps float32)",
		"adamW"+s.suffix+" is Set.AdamW with its scalars computed: decay is 1-lr*wd, rest1 and",
		"rest2 are 1-beta1 and 1-beta2, step is -lr/c1, root is sqrt(c2).")
	w, grad, m, v := s.base("w"), s.base("grad"), s.base("m"), s.base("v")
	n, off := s.length("w"), s.GP64()
	decay, beta2, rest1, rest2 := s.scalar("decay"), s.scalar("beta2"), s.scalar("rest1"), s.scalar("rest2")
	step, root, eps := s.scalar("step"), s.scalar("root"), s.scalar("eps")
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		g, mi := s.load(atIndex(grad, off, 1, disp), k), s.load(atIndex(m, off, 1, disp), k)
		t := s.vec()
		s.note("m[i] += rest1 * (grad[i] - m[i])")
		s.VSUBPS(mi, g, t)
		s.VMULPS(rest1, t, t)
		s.VADDPS(t, mi, mi)
		s.store(mi, atIndex(m, off, 1, disp), k)
		s.note("v[i] = v[i]*beta2 + rest2*grad[i]*grad[i]")
		vi := s.load(atIndex(v, off, 1, disp), k)
		s.VMULPS(beta2, vi, vi)
		s.VMULPS(g, rest2, t)
		s.VMULPS(g, t, t)
		s.VADDPS(t, vi, vi)
		s.store(vi, atIndex(v, off, 1, disp), k)
		s.note("w[i] = w[i]*decay + step*m[i] / (sqrt(v[i])/root + eps)")
		s.VSQRTPS(vi, vi)
		s.VDIVPS(root, vi, vi)
		s.VADDPS(eps, vi, vi)
		s.VMULPS(step, mi, mi)
		s.VDIVPS(vi, mi, mi)
		wi := s.load(atIndex(w, off, 1, disp), k)
		s.VMULPS(decay, wi, wi)
		s.VADDPS(mi, wi, wi)
		s.store(wi, atIndex(w, off, 1, disp), k)
	})
	s.done()
}
