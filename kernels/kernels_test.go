package kernels_test

import (
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
)

func TestConformance(t *testing.T) {
	for _, set := range kernels.Sets() {
		t.Run(set.Name, func(t *testing.T) {
			for _, c := range kerneltest.Checks() {
				t.Run(c.Name, func(t *testing.T) {
					if err := c.Run(set, testing.Short()); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}
