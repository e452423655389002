"""Writes TIFF files of bands."""

import tifffile


def save_bands(path, bands, *, planes=False, nodata=None, **options):
    """Writes [H, W, bands], pixel by pixel or plane by plane, with GDAL's tag for missing values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = [] if nodata is None else [(42113, 2, 0, nodata, True)]
    if bands.shape[-1] == 1:
        bands = bands[..., 0]
    else:
        bands = bands.transpose(2, 0, 1) if planes else bands
        options["planarconfig"] = "separate" if planes else "contig"
    tifffile.imwrite(path, bands, photometric="minisblack", extratags=tags + options.pop("extratags", []), **options)
