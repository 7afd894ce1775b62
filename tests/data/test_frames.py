import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from jointspace.data.frames import decode_span, prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.resize import resize_frame
from jointspace.data.schema import VideoSpan
from jointspace.errors import DataError, InputError, StorageError
from tests.factories import write_lerobot, write_video

CAMERA = "observation.images.top"
WRIST = "observation.images.wrist"


def _skipped(dataset):
    return [f"{f.where}: {f.message}" for f in dataset.findings if f.severity == "skipped"]


def _plain(file):
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_span_is_those_frames_of_the_file(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, size=(9, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "v.mp4", frames)
    decoded = list(decode_span(VideoSpan(tmp_path / "v.mp4", 3, 4)))
    np.testing.assert_array_equal(decoded, _plain(tmp_path / "v.mp4")[3:7])


def test_a_span_that_the_file_does_not_hold_is_an_error(tmp_path):
    write_video(tmp_path / "v.mp4", np.zeros((5, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="ends after 2 of the span's 4 frames"):
        list(decode_span(VideoSpan(tmp_path / "v.mp4", 3, 4)))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("images_in_table", [False, True])
def test_the_store_holds_the_resized_frames_of_each_step(tmp_path, version, images_in_table):
    write_lerobot(
        tmp_path / "data",
        version=version,
        num_episodes=3,
        num_frames=[5, 7, 4],
        cameras=[CAMERA, WRIST],
        images_in_table=images_in_table,
    )
    opened = open_dataset(tmp_path / "data")
    dataset, store = prepare_frames(opened, image_px=16, cache_dir=tmp_path / "cache")
    assert dataset == opened
    assert store.cameras == (CAMERA, WRIST)
    for position, episode in enumerate(dataset.episodes):
        for camera in store.cameras:
            frames = store.frames(position, camera)
            assert frames.dtype == np.uint8
            expected = [resize_frame(f, image_px=16) for f in decode_span(episode.videos[camera])]
            np.testing.assert_array_equal(frames, expected)


def test_v2_and_v3_of_the_same_pictures_give_equal_frames(tmp_path):
    stores = []
    for version in ("v2.1", "v3.0"):
        write_lerobot(tmp_path / version, version=version, num_episodes=3, num_frames=[5, 7, 4])
        dataset = open_dataset(tmp_path / version)
        stores.append(prepare_frames(dataset, image_px=16, cache_dir=tmp_path / "cache")[1])
    for position in range(3):
        np.testing.assert_array_equal(
            stores[0].frames(position, CAMERA), stores[1].frames(position, CAMERA)
        )


def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch):
    write_lerobot(tmp_path / "data", num_episodes=2, num_frames=4)
    dataset = open_dataset(tmp_path / "data")
    _, first = prepare_frames(dataset, image_px=16, cache_dir=tmp_path / "cache")

    def refuse(*_, **__):
        pytest.fail("decoded again")

    monkeypatch.setattr("jointspace.data.frames.decode_video", refuse)
    _, second = prepare_frames(dataset, image_px=16, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first.frames(1, CAMERA), second.frames(1, CAMERA))


def test_frames_go_to_the_named_cache_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("JOINTSPACE_CACHE", str(tmp_path / "named"))
    write_lerobot(tmp_path / "data", num_episodes=2, num_frames=4)
    prepare_frames(open_dataset(tmp_path / "data"), image_px=16)
    assert len(list((tmp_path / "named").glob("*.npy"))) == 2


def test_cameras_can_be_chosen_by_their_last_name(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4, cameras=[CAMERA, WRIST])
    dataset, store = prepare_frames(open_dataset(tmp_path), image_px=16, cameras=["wrist"])
    assert dataset.info.cameras == store.cameras == (WRIST,)
    assert all(set(e.videos) == {WRIST} for e in dataset.episodes)
    # The other camera's video may then be missing.
    next(p for p in tmp_path.rglob("*.mp4") if CAMERA in str(p)).unlink()
    assert (
        len(prepare_frames(open_dataset(tmp_path), image_px=16, cameras=[WRIST])[0].episodes) == 2
    )
    with pytest.raises(InputError, match=r"no one camera '.*wrst'\. Did you mean"):
        prepare_frames(open_dataset(tmp_path), image_px=16, cameras=["observation.images.wrst"])
    assert written.path == tmp_path


def test_a_data_set_without_cameras_has_an_empty_store(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=4, cameras=())
    dataset, store = prepare_frames(open_dataset(tmp_path), image_px=16)
    assert len(dataset.episodes) == 2
    assert store.cameras == ()


def test_the_store_refuses_what_it_does_not_have(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    _, store = prepare_frames(open_dataset(tmp_path), image_px=16)
    with pytest.raises(InputError, match="no episode at position 2; there are 2"):
        store.frames(2, CAMERA)
    with pytest.raises(InputError, match=r"Did you mean 'observation\.images\.top'"):
        store.frames(0, "observation.images.tap")


def test_progress_counts_every_frame_once_and_ends_at_the_total(tmp_path):
    write_lerobot(tmp_path, num_episodes=3, num_frames=[4, 5, 6])
    dataset = open_dataset(tmp_path)
    decoded, cached = [], []
    for counts in (decoded, cached):
        prepare_frames(
            dataset,
            image_px=16,
            cache_dir=tmp_path / "cache",
            progress=lambda *call, counts=counts: counts.append(call),
        )
    assert decoded == [(done, 15) for done in range(1, 16)]
    assert cached[-1] == (15, 15)
    assert len(cached) == 3


# --- broken videos --------------------------------------------------------------------------------


def test_missing_empty_cut_and_short_videos_leave_their_episodes_out(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=6, num_frames=10)
    written.video(1).unlink()
    written.video(2).write_bytes(b"")
    content = written.video(3).read_bytes()
    written.video(3).write_bytes(content[: len(content) // 2])
    write_video(written.video(4), written.pictures[4][CAMERA][:9])
    dataset, store = prepare_frames(open_dataset(tmp_path), image_px=16)
    assert [e.index for e in dataset.episodes] == [0, 5]
    missing, empty, cut, short = _skipped(dataset)
    assert missing == f"episode 1: no pictures of {CAMERA}"
    assert "episode 2" in empty
    assert "the file is empty" in empty
    assert "episode 3" in cut
    assert "cannot be decoded from frame 0 on" in cut
    assert short == f"episode 4: {CAMERA}/episode_000004.mp4 ends after 9 frames; frame 9 is needed"
    np.testing.assert_array_equal(
        store.frames(1, CAMERA)[0], resize_frame(_plain(written.video(5))[0], image_px=16)
    )


def test_a_cut_shared_video_keeps_the_episodes_before_the_cut(tmp_path):
    written = write_lerobot(
        tmp_path, version="v3.0", num_episodes=3, num_frames=6, episodes_per_file=3
    )
    frames = np.concatenate([p[CAMERA] for p in written.pictures])
    write_video(written.video(0), frames[:14])
    for _ in range(2):  # decoded, then from the cache
        dataset, store = prepare_frames(open_dataset(tmp_path), image_px=16)
        assert [e.index for e in dataset.episodes] == [0, 1]
        assert "ends after 14 frames; frame 17 is needed" in _skipped(dataset)[0]
        assert len(store.frames(1, CAMERA)) == 6


def test_no_pictures_at_all_is_an_error(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    for i in range(2):
        written.video(i).write_bytes(b"")
    with pytest.raises(DataError, match=r"no episode has all its pictures: .*the file is empty"):
        prepare_frames(open_dataset(tmp_path), image_px=16)


def test_a_black_camera_is_reported_and_kept(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=6, cameras=[CAMERA, WRIST])
    black = np.zeros_like(written.pictures[1][WRIST])
    write_video(tmp_path / "videos" / "chunk-000" / WRIST / "episode_000001.mp4", black)
    dataset, _ = prepare_frames(open_dataset(tmp_path), image_px=16)
    assert len(dataset.episodes) == 3
    (finding,) = dataset.findings
    assert str(finding) == f"warning: {WRIST}: all black in 1 of 3 episodes, as in episode 1"


def test_a_single_bright_picture_makes_a_camera_alive(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=9)
    frames = np.zeros_like(written.pictures[1][CAMERA])
    frames[7] = 200
    write_video(written.video(1), frames)
    assert prepare_frames(open_dataset(tmp_path), image_px=16)[0].findings == ()


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_lerobot(tmp_path / "data", num_episodes=3, num_frames=4)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jointspace.data.frame_cache.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        prepare_frames(open_dataset(tmp_path / "data"), image_px=16, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interruption_stops_the_other_workers_and_leaves_nothing_half_written(tmp_path):
    write_lerobot(tmp_path / "data", num_episodes=4, num_frames=600, image_px=(32, 32))
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_frames(
            open_dataset(tmp_path / "data"),
            image_px=16,
            cache_dir=tmp_path / "cache",
            progress=interrupt,
        )
    assert seen[-1][0] < 600  # not one of the videos was decoded to its end
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_vanishes_after_opening_leaves_its_episode_out(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    dataset = open_dataset(tmp_path)
    written.video(0).unlink()
    kept, _ = prepare_frames(dataset, image_px=16)
    assert [e.index for e in kept.episodes] == [1]
    assert "cannot be read: No such file" in _skipped(kept)[0]


def test_replaced_pictures_beside_a_table_are_decoded_again(tmp_path):
    data = tmp_path / "data"
    written = write_lerobot(data, num_episodes=1, num_frames=3, images_in_table=True)
    cells = [{"bytes": None, "path": f"{i}.png"} for i in range(3)]
    written.change_column(CAMERA, cells)
    for shade in (60, 200):
        for cell in cells:
            Image.new("RGB", (16, 16), (shade, shade, shade)).save(data / cell["path"])
        _, store = prepare_frames(open_dataset(data), image_px=16, cache_dir=tmp_path / "cache")
        assert (store.frames(0, CAMERA) == shade).all()


# --- real data ------------------------------------------------------------------------------------


def test_cr5_decodes_to_equal_pixels_from_v21_and_v30(samples_dir):
    # Three episodes of the 56, for speed: the first of the first shared file, one after others in
    # it, and the first of the second file.
    old, new = (open_dataset(samples_dir / n) for n in ("cr5_small_v21", "cr5_small_v30"))
    files = [e.videos[CAMERA].path for e in new.episodes]
    border = files.index(next(f for f in files if f != files[0]))
    for position in (0, 2, border):
        ours, theirs = old.episodes[position], new.episodes[position]
        count = 0
        for a, b in zip(
            decode_span(ours.videos[CAMERA]), decode_span(theirs.videos[CAMERA]), strict=True
        ):
            assert np.array_equal(a, b)
            count += 1
        assert count == ours.num_frames


def test_gr00t_and_raw_cr5_frames_are_those_of_plain_pyav(samples_dir, tmp_path):
    # The shortest episode of each, for speed; cr5_raw is AV1 with irregular recorded timestamps.
    for name in ("gr00t_sim_v20", "cr5_raw_v21"):
        dataset = open_dataset(samples_dir / name)
        chosen = dataset.episodes[4 if name == "gr00t_sim_v20" else 5]
        alone, store = prepare_frames(
            replace(dataset, episodes=(chosen,)), image_px=32, cache_dir=tmp_path
        )
        camera = alone.info.cameras[0]
        frames = store.frames(0, camera)
        assert len(frames) == chosen.num_frames
        plain = _plain(chosen.videos[camera].path)
        for step in (0, len(frames) // 2, len(frames) - 1):
            np.testing.assert_array_equal(frames[step], resize_frame(plain[step], image_px=32))
        shutil.rmtree(tmp_path)
