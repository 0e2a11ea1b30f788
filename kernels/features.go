package kernels

import "golang.org/x/sys/cpu"

// CPUFeatures lists the vector extensions of this CPU that a kernel set may
// use, in the spelling of Linux; it is empty where none is known.
func CPUFeatures() []string {
	var list []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"sse4_1", cpu.X86.HasSSE41},
		{"avx", cpu.X86.HasAVX},
		{"avx2", cpu.X86.HasAVX2},
		{"fma", cpu.X86.HasFMA},
		{"avx512f", cpu.X86.HasAVX512F},
		{"avx512bw", cpu.X86.HasAVX512BW},
		{"avx512dq", cpu.X86.HasAVX512DQ},
		{"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512_bf16", cpu.X86.HasAVX512BF16},
		{"asimd", cpu.ARM64.HasASIMD},
		{"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			list = append(list, f.name)
		}
	}
	return list
}
