package site

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/templates"
)

// Each kind that can be asked for has files, each file has a template, and no
// template of server/ is without its use.
func TestDeploymentsAreThoseOfTheSettings(t *testing.T) {
	t.Parallel()
	files := []string{"thingsboard"}
	for _, kind := range settings.Deployments() {
		of := deploymentFiles([]string{kind})
		if len(of) == 0 {
			t.Errorf("%s has no file", kind)
		}
		for _, file := range of {
			text, err := templates.Render(file.name, deploymentData{Host: "tb.example.com", MQTTPort: 1883, MQTTSPort: 8883})
			if err != nil {
				t.Error(err)
			}
			if len(commands(text)) == 0 {
				t.Errorf("%s tells no command", file.name)
			}
			name, _, _ := strings.Cut(path.Base(file.name), ".")
			files = append(files, name)
		}
	}
	slices.Sort(files)
	if names := templates.Names("server"); !slices.Equal(names, files) || len(deployments()) != len(settings.Deployments()) {
		t.Errorf("the templates are %v, the files %v", names, files)
	}
}
