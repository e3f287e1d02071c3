"""Operations on whole batches of images, random ones keyed by (seed, epoch, id)."""
