package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/train"
)

// TestEverySettingIsAFlagAndDocumented: a field of the configuration has a flag
// of its name in both commands and stands in docs/training.md.
func TestEverySettingIsAFlagAndDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/training.md")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	pretrain, finetune := newPretrainCmd(a), newFinetuneCmd(a)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[train.Config]()) {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if field.Anonymous {
			continue
		}
		if key == "" {
			t.Errorf("%s has no key", field.Name)
			continue
		}
		flag := strings.ReplaceAll(key, "_", "-")
		if pretrain.Flag(flag) == nil || finetune.Flag(flag) == nil {
			t.Errorf("%s has no flag --%s", field.Name, flag)
		}
		if !strings.Contains(string(doc), "`"+key+"`") {
			t.Errorf("docs/training.md says nothing of `%s`", key)
		}
	}
}
