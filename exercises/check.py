"""All exercises by name: check.q_sample(my_q_sample) -> Result; and diagnose, which examines a whole model."""
from exercises.diagnose import diagnose                         # noqa: F401
from exercises.nb01_unet_segmentation import dice, held_out, iou, skip_join
from exercises.nb02_forward_noising import alpha_bar, beta_of, equal_parts, noise_step, q_sample
from exercises.nb03_training import ema_update, noise_loss, predict_x0, time_embedding
from exercises.nb04_reverse_sampling import ddim_step, ddpm_step, last_step, partial_denoise, timesteps
from exercises.nb05_denoise_your_image import blend, psnr, spread, time_of
from exercises.nb06_good_or_copied import closeness, copied, kid, nearest, recall
from exercises.nb07_brain_slices_ddim import drop_labels, guided, invert_step, slerp
from exercises.nb08_what_it_is_good_for import back_project, bits_per_dim, paste_known, step_cost
from exercises.nb09_bug_zoo import embedding, end, follow, loss, prepare, split, step, times

EXERCISES = {exercise.name: exercise for exercise in (
    held_out, iou, dice, skip_join,
    noise_step, alpha_bar, q_sample, equal_parts, beta_of,
    time_embedding, noise_loss, ema_update, predict_x0,
    ddpm_step, last_step, ddim_step, timesteps, partial_denoise,
    spread, psnr, time_of, blend,
    kid, recall, nearest, closeness, copied,
    drop_labels, slerp, invert_step, guided,
    step_cost, bits_per_dim, paste_known, back_project,
    prepare, follow, end, loss, step, embedding, times, split,
)}


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    raise AttributeError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}.")
