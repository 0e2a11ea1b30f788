package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/maskfile"
)

func newMaskSignCmd(a *app) *cobra.Command {
	var (
		key, out string
		force    bool
	)
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEY",
		Short: "Sign a mask file with an Ed25519 key",
		Long: `Sign writes the Ed25519 signature of the file's manifest (every recipe, count
and hash) to FILE.sig. KEY is a private key in PEM, as
"openssl genpkey -algorithm ed25519" writes it.`,
		Example: `  spdfctl mask sign mask.safetensors --key private.pem
  spdfctl mask sign mask.safetensors --key private.pem -o release.sig`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return usageErrorf("mask sign: --key is missing: a private Ed25519 key in PEM")
			}
			set, err := readMasks(args[0])
			if err != nil {
				return err
			}
			private, err := maskfile.ReadPrivateKey(key)
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0] + maskfile.SignatureEnd
			}
			if err := maskfile.Sign(out, force, set, private); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return withHint(fmt.Errorf("mask sign: %s: exists", out), "--force replaces it")
				}
				return err
			}
			a.logf("mask sign: %s", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "private Ed25519 key in PEM")
	cmd.Flags().StringVarP(&out, "out", "o", "", "signature to write (default: FILE.sig)")
	cmd.Flags().BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

// verifySignature checks the signature of a mask file.
func verifySignature(file, signature, key string) error {
	public, err := maskfile.ReadPublicKey(key)
	if err != nil {
		return err
	}
	set, err := readMasks(file)
	if err == nil {
		if signature == "" {
			signature = file + maskfile.SignatureEnd
		}
		err = maskfile.VerifySignature(signature, set, public)
	}
	var differs *maskfile.MismatchError
	if errors.As(err, &differs) {
		return differenceErrorf("mask verify: %w", err)
	}
	return err
}
