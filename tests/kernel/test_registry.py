"""The registry: plugins loaded in one order, each isolated, and names that are claimed once."""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kernel.devices import COUNTER, Devices, acting, count
from procession import PluginError, hookimpl
from procession import process as builtin
from procession.registry import FACTORY_ROLES, TABLE_ROLES, Registry
from procession.roles import Factory
from procession.testing.fakes import MemoryHost


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder where distributions can be installed by writing them down."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if name.startswith("stranger"):
            del sys.modules[name]


def install(site: Path, distribution: str, body: str, *, name: str = "plugin", version: str = "1.2.3") -> None:
    """Write a distribution with one plugin down, as an installer leaves it."""
    module = distribution.replace("-", "_") + "_" + name
    header = "from procession import hookimpl, Factory, PureStage\n"
    (site / f"{module}.py").write_text(header + body)
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    entries = info / "entry_points.txt"
    before = entries.read_text() if entries.exists() else "[procession]\n"
    entries.write_text(before + f"{name} = {module}\n")
    importlib.invalidate_caches()


def stages(*names: str) -> str:
    """Return the text of a plugin that provides stages."""
    table = ", ".join(f'"{name}": Factory(lambda options, binding: PureStage())' for name in names)
    return f"@hookimpl\ndef procession_stages(): return {{{table}}}\n"


def found(registry: Registry, role: str = "stages") -> dict[str, str]:
    """Return the names of a role that strangers provide, with the distribution of each."""
    made = [
        item for item in registry.provisions() if item.role == role and item.origin.distribution.startswith("stranger")
    ]
    return {item.name: str(item.origin) for item in made}


# -- discovery


def test_installed_plugins_are_found(site: Path) -> None:
    """A distribution with an entry point provides its devices under its own name and version."""
    install(site, "stranger-a", stages("a@1.0"))
    assert {"a@1.0": "stranger-a 1.2.3"} == found(Registry())
    assert {} == found(Registry(discover=False))


def test_what_is_installed_meanwhile_is_found(site: Path) -> None:
    """Each registry holds what is installed when it is made, by a distribution that was read before too."""
    held = []
    for distribution, name in (("stranger-a", "one"), ("stranger-b", "one"), ("stranger-a", "two")):
        install(site, distribution, stages(f"{distribution[-1]}{name}@1.0"), name=name)
        held.append(sorted(found(Registry())))
    shutil.rmtree(site / "stranger_a-1.2.3.dist-info")
    held.append(sorted(found(Registry())))
    assert [["aone@1.0"], ["aone@1.0", "bone@1.0"], ["aone@1.0", "atwo@1.0", "bone@1.0"], ["bone@1.0"]] == held


def test_what_is_installed_is_read_again_where_it_changed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry looks at the files that name plugins; they are read where one changed, or one is in an archive."""
    walks: list[Any] = []
    walk = metadata.entry_points
    monkeypatch.setattr(metadata, "entry_points", lambda **given: (walks.append(given), walk(**given))[1])
    read = []
    for name in ("one", "", "two", "", "archive", ""):
        if name == "archive":
            with zipfile.ZipFile(site / "stranger.zip", "w") as archive:
                archive.writestr("stranger_z-1.0.dist-info/METADATA", "Name: stranger-z\nVersion: 1.0\n")
            monkeypatch.syspath_prepend(str(site / "stranger.zip"))
        elif name:
            install(site, "stranger-a", stages(f"{name}@1.0"), name=name)
        before = len(walks)
        Registry()
        read.append(len(walks) - before)
    assert [1, 0, 1, 0, 1, 1] == read


def test_a_plugin_that_does_not_load_is_named_and_left_out(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An entry point that raises, exits or is missing keeps no other from loading."""
    install(site, "stranger-a", "raise ValueError('no luck')\n")
    install(site, "stranger-b", "import sys; sys.exit(3)\n")
    install(site, "stranger-c", "import stranger_nothing\n")
    install(site, "stranger-d", stages("d@1.0"))
    with caplog.at_level(logging.WARNING, "procession"):
        registry = Registry()
    assert {"d@1.0": "stranger-d 1.2.3"} == found(registry)
    failures = {str(failure.facts["distribution"]): failure.text for failure in registry.failures}
    assert {"stranger-a 1.2.3", "stranger-b 1.2.3", "stranger-c 1.2.3"} <= set(failures)
    assert "does not load: ValueError: no luck; it is left out" in failures["stranger-a 1.2.3"]
    assert 3 == sum("stranger-" in record.getMessage() for record in caplog.records)


def test_the_install_line_names_the_nearest(site: Path) -> None:
    """A name that nothing provides is answered with the nearest that is installed and how to get it."""
    install(site, "stranger-wasm", stages("wasm-65@1.0"))
    registry = Registry(discover=True)
    expected = (
        "nothing installed provides 'wsam-65@1.0' as a stage; nearest is 'wasm-65@1.0' (pip install stranger-wasm)"
    )
    assert expected == registry.missing("stages", "wsam-65@1.0")
    with pytest.raises(PluginError, match=r"nearest is 'wasm-65@1\.0'") as caught:
        registry.factory("stages", "wsam-65@1.0")
    assert ("unknown-device", "wsam-65@1.0") == (caught.value.kind, caught.value.facts["device"])
    far = Registry((builtin,), discover=False).missing("stages", "lua@5.3a")
    assert far.endswith("known are stack@1.0; try pip install procession-lua")


@pytest.mark.parametrize(
    ("device", "hint"),
    [
        ("nope@1.0", "known are b@1.0, b@2.0, echo@1.0, stack@1.0; try pip install procession-nope"),
        ("ecko@1.0", "nearest is 'echo@1.0'"),
        ("echo@9.9-preview", "nearest is 'echo@1.0'"),
        ("echo", "nearest is 'echo@1.0'"),
        ("b@2.1", "nearest is 'b@2.0'"),
        ("", "known are b@1.0, b@2.0, echo@1.0, stack@1.0; try pip install procession-"),
    ],
)
def test_the_nearest_is_nearest_by_name(device: str, hint: str) -> None:
    """Devices are alike by what stands before the @; of several versions the nearest is told."""
    devices = Devices({"echo@1.0": count, "b@1.0": count, "b@2.0": count})
    told = Registry((builtin, devices), discover=False).missing("stages", device)
    assert f"nothing installed provides {device!r} as a stage; {hint}" == told


def test_two_distributions_cannot_claim_one_name(site: Path) -> None:
    """A device that two distributions provide is refused, and both are named."""
    install(site, "stranger-a", stages("x@1.0"))
    install(site, "stranger-b", stages("x@1.0"))
    with pytest.raises(PluginError, match=r"'x@1\.0'.*both stranger-a 1\.2\.3 and stranger-b 1\.2\.3") as caught:
        Registry()
    assert ("claimed-twice", "x@1.0") == (caught.value.kind, caught.value.facts["device"])


def test_a_name_of_the_kernel_cannot_be_claimed() -> None:
    """What the kernel provides is registered through the same door, and as unique."""
    with pytest.raises(PluginError, match=r"stack@1\.0"):
        Registry((builtin, Devices({"stack@1.0": count})), discover=False)


def test_one_name_may_fill_several_roles() -> None:
    """A stage and a request device of one name are two provisions."""

    class Both(Devices):
        @hookimpl
        def procession_keys(self) -> Mapping[str, Any]:
            return {"both@1.0": {}}

    registry = Registry((Both({"both@1.0": count}),), discover=False)
    assert {"both@1.0"} == set(registry.factories("stages")) == set(registry.keys)


def test_an_installed_plugin_may_be_given_too(site: Path) -> None:
    """A module that is installed and passed as well is one plugin."""
    install(site, "stranger-a", stages("a@1.0"))
    module = __import__("stranger_a_plugin")
    assert {"a@1.0": "stranger-a 1.2.3"} == found(Registry((module,)))


def test_two_objects_of_one_class_are_two_plugins() -> None:
    """Plugins that are objects may share their class."""
    registry = Registry((Devices({"a@1.0": count}), Devices({"b@1.0": count})), discover=False)
    assert ["a@1.0", "b@1.0"] == sorted(registry.factories("stages"))


# -- plugins that are wrong


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            "@hookimpl\ndef procession_stagess(): return {}\n",
            "'procession_stagess' is no hook; nearest is 'procession_stages'",
        ),
        ("@hookimpl\ndef provide_stages(): return {}\n", "'provide_stages' is no hook; nearest is 'procession_stages'"),
        ("import procession_nothing\n", None),
        ("@hookimpl\ndef procession_computed(process, resutl): pass\n", "resutl"),
        ("@hookimpl\ndef procession_stages(): raise ValueError('x')\n", "procession_stages raised ValueError: x"),
        ("@hookimpl\ndef procession_stages(): return None\n", None),
        ("@hookimpl\ndef procession_stages(): return ['a@1.0']\n", "gave list; give a map"),
        ("@hookimpl\ndef procession_stages(): return {'a@1.0': PureStage}\n", "'a@1.0' is type; give a Factory"),
        ("@hookimpl\ndef procession_stages(): return {'a@1.0': Factory(PureStage, dict)}\n", "give an attrs class"),
        ("@hookimpl\ndef procession_settings(): return {'x': int}\n", "give an attrs class"),
    ],
)
def test_a_wrong_plugin_is_refused_at_registration(site: Path, body: str, problem: str | None) -> None:
    """What a plugin gets wrong is told when it is loaded, with its distribution, not when it is used."""
    install(site, "stranger-a", body)
    if problem is None and "import" in body:
        assert any("stranger-a" in failure.text for failure in Registry().failures)
        return
    with pytest.raises(PluginError) as caught:
        Registry()
    assert "stranger-a 1.2.3" in caught.value.text
    assert (problem or "gave NoneType") in caught.value.text


# -- order


def test_the_order_of_plugins_is_in_no_answer() -> None:
    """Names, provisions and fingerprints are the same whatever the order in which plugins are given."""
    plugins = [builtin, MemoryHost(), Devices({"a@1.0": count}), Devices({"b@1.0": count})]
    one, other = Registry(plugins, discover=False), Registry(plugins[::-1], discover=False)
    names = [(item.role, item.name) for item in one.provisions()]
    assert sorted(names) == names == [(item.role, item.name) for item in other.provisions()]
    assert one.fingerprint(["a@1.0", "b@1.0"]) == other.fingerprint(["b@1.0", "a@1.0", "b@1.0"])


def test_the_fingerprint_covers_what_answers_depend_on() -> None:
    """Another device, another version of its engine or other sources give another fingerprint."""
    build = acting(count).build
    engines = {name: Factory(build, fingerprint={"engine": name}) for name in ("one", "two")}
    prints = {
        Registry((builtin, Devices({"a@1.0": factory, "b@1.0": count})), discover=False).fingerprint(devices)
        for factory in engines.values()
        for devices in (["a@1.0"], ["a@1.0", "b@1.0"])
    }
    assert 4 == len(prints)


def test_sources_are_in_the_fingerprint(site: Path) -> None:
    """A device whose module changed has another fingerprint, also under the same version."""
    prints = []
    for text in ("", "# changed\n"):
        install(site, f"stranger-{len(prints)}", text + stages("a@1.0"), name=f"p{len(prints)}", version="1.0.0")
        module = __import__(f"stranger_{len(prints)}_p{len(prints)}")
        prints.append(Registry((builtin, module), discover=False).fingerprint(["stack@1.0"]))
        prints.append(Registry((builtin, module), discover=False).fingerprint(["a@1.0"]))
    assert prints[0] == prints[2]
    assert prints[1] != prints[3]


# -- two registries


def test_nothing_is_shared_between_two_registries() -> None:
    """What one kernel knows another does not."""
    one = Registry((builtin, Devices(COUNTER)), discover=False)
    other = Registry((builtin,), discover=False)
    assert "count@1.0" in one.factories("stages")
    assert "count@1.0" not in other.factories("stages")
    one.close()
    assert "stack@1.0" in other.factories("stages")


def test_every_role_has_a_table() -> None:
    """A kernel without plugins knows message@1.0, process@1.0 and stack@1.0 and nothing else."""
    registry = Registry((builtin,), discover=False)
    known = {role: set(registry.table(role)) for role in (*FACTORY_ROLES, *TABLE_ROLES)}
    expected = {"stages": {"stack@1.0"}, "keys": {"message@1.0", "process@1.0", "stack@1.0"}}
    assert expected == {role: names for role, names in known.items() if names}


# -- watching


def test_a_watcher_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of one that watches is logged with its plugin, and the others are still told."""
    told: list[str] = []

    class Raising:
        @hookimpl
        def procession_snapshotted(self, process: str) -> None:
            raise ValueError("no luck")

    class Telling:
        @hookimpl
        def procession_snapshotted(self, slot: int, process: str) -> None:
            told.append(f"{process} {slot}")

    registry = Registry((Raising(), Telling(), Raising()), discover=False)
    registry.watch("procession_snapshotted", process="x", slot=1, size=2)
    assert ["x 1"] == told
    assert 2 == sum("procession_snapshotted raised" in record.getMessage() for record in caplog.records)


def test_a_plugin_is_a_module_or_an_object() -> None:
    """A module made in a program is a plugin like any other."""
    module = ModuleType("homemade")
    module.procession_stages = hookimpl(lambda: {"a@1.0": acting(count)}, specname="procession_stages")
    (provision,) = Registry((module,), discover=False).provisions()
    assert ("a@1.0", "homemade") == (provision.name, provision.origin.distribution)
