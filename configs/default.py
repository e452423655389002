"""Every key of a configuration, with its default. The other files of this folder change a few of them.

A duration is a text: "500 steps" or "2.5 epochs"; "0 steps" means never. A size is (height, width) in pixels; () means
as it is. On the command line: --config.train.batch_size=8 --config.data.image_size='(180, 240)'.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """Returns the defaults."""
    config = ml_collections.ConfigDict()

    # Determines the initial weights, the order of the examples, their augmentation and dropout.
    config.seed = 0

    config.data = ml_collections.ConfigDict()
    # synthetic, camvid, cityscapes, folder, kitti, nyuv2, pascal_voc, sunrgbd, records or mixture
    config.data.name = "synthetic"
    config.data.root = ""  # the folder that holds the data set; synthetic needs none, that of records can be gs://...
    config.data.image_size = ()  # images and masks are resized to this, for training and evaluation
    # How: stretch; or fit (the whole image, in black and void) or crop (its middle), which keep proportions; or center
    # (as many pixels of its middle, as they are).
    config.data.resize = "stretch"
    config.data.train_split = "train"
    config.data.eval_split = "val"  # evaluated in training; the best checkpoint is the best on it
    config.data.max_images = 0  # use only the first so many images of each split, to try something out; 0 uses all
    config.data.num_workers = 0  # reading processes; 0 uses threads only
    config.data.num_threads = 2  # reading threads of each process
    # For `folder`: names, or dicts of name, id, color and ignored; () for none yet.
    config.data.classes = ()
    config.data.val_fraction = 0.1  # of the images that are for validation where there are no split files; kitti's too
    config.data.mask_suffix = ""  # what the mask's file name adds to the image's, such as "_mask"
    config.data.image_max = 65535  # value of 16-bit images that becomes 255 of 8 bits, such as 4095 for 12 bits
    # What the channels of images are: for `folder` rgb (its images) and any others, each a folder of that name, such as
    # ("rgb", "depth") or ("normals",), or ("bands",), all bands of its images; for `synthetic`, `sunrgbd` and `nyuv2`
    # also ("rgb", "depth").
    config.data.modalities = ("rgb",)
    config.data.depth_max = 65535  # value of 16-bit depth maps, in their own unit, that becomes 255 of 8 bits
    config.data.depth_missing = -1  # value of depth maps that means a missing one, such as 0; -1: none does
    # The classes that labels are read in: of `cityscapes` and `kitti` also camvid11, of `sunrgbd` 37 or 13, of `nyuv2`
    # 13, 14 or 40; "" takes the data set's own, and of these two the first, the papers'.
    config.data.class_set = ""
    config.data.raw_depth = False  # for these two: depth as measured, with holes, in place of filled
    # What stands for one metre in their depth images; 0 means the code of SUN RGB-D's toolbox, and 1000 for NYUv2.
    config.data.depth_scale = 0.0
    # How their label files number the classes: 0 means from 0 on, with 255 for what is unlabelled; 1 from 1 on, with 0;
    # -1 finds it out from the files of both splits, or refuses.
    config.data.label_start = -1
    # For `mixture`, a dict for each data set: `weight`, `class_map` (pairs of a class of it and one of the mixture) and
    # keys of this section, such as dict(name="camvid", root="camvid", weight=2.0); a root is below that of above. The
    # classes of the mixture are those of above, or without any those of its first data set.
    config.data.mixture = ()
    # For `synthetic`:
    config.data.scene_size = (90, 120)
    config.data.train_scenes = 1000
    config.data.eval_scenes = 100

    # For training images, in this order.
    config.augment = ml_collections.ConfigDict()
    config.augment.scale = (1.0, 1.0)  # smallest and greatest factor of size
    config.augment.crop_size = ()
    # Probability that a crop has its middle on a pixel of a class that is drawn from those in the image, each alike.
    config.augment.class_crops = 0.0
    config.augment.flip = True  # left and right, every second image
    config.augment.brightness = 0.0  # greatest relative change, as of the next two
    config.augment.contrast = 0.0
    config.augment.saturation = 0.0
    config.augment.hue = 0.0  # greatest turn, as a share of the circle
    config.augment.gamma = 0.0  # colours are raised to a power, at most 1 + gamma and at least its inverse
    config.augment.blur = 0.0  # greatest standard deviation of a Gaussian filter, in pixels
    config.augment.noise = 0.0  # greatest standard deviation of Gaussian noise, in steps of 255

    # imagenet, lcn (the papers), lrn (the authors' SegNet-Basic), none (their SegNet), standardize (each channel by its
    # own mean and deviation over the training images, as imagenet does with all but RGB)
    config.preprocessing = "imagenet"

    config.model = ml_collections.ConfigDict()
    config.model.name = "segnet"  # docs/models.md has them all
    config.model.width_multiplier = 1.0
    config.model.batch_norm_momentum = 0.9
    config.model.cross_replica_batch_norm = True  # statistics over the batches of all devices
    config.model.dtype = "float32"  # of activations; bfloat16 is faster on GPU and TPU
    config.model.param_dtype = "float32"
    # What the backward pass computes anew, to save memory: none, activations (of BatchNorm and ReLU), stages (all)
    config.model.remat = "activations"
    config.model.remat_stages = ()  # where it does so; 1 is the full resolution, () means everywhere
    # None: the network's own value; docs/models.md says what that is, and which network has which of these.
    config.model.dropout_rate = config_dict.placeholder(float)  # the paper's benchmark has 0.5 in SegNet too
    config.model.batch_norm = config_dict.placeholder(bool)  # False: biases instead
    config.model.fc_features = config_dict.placeholder(int)  # of fc6 and fc7
    config.model.upsampling = config_dict.placeholder(str)  # learnt, fixed or unpool
    config.model.reference_padding = config_dict.placeholder(bool)
    config.model.pairs = config_dict.placeholder(int)  # of an encoder and a decoder
    config.model.hidden_features = config_dict.placeholder(int)  # of a hidden layer of the classifier; 0 has none

    config.pretrained = ml_collections.ConfigDict()
    config.pretrained.weights = "none"  # none or vgg16
    # How BatchNorm takes VGG16's biases: matched to its response to training images, so that training begins with what
    # VGG16 computes; or absorbed by the running means alone, so that only evaluation does.
    config.pretrained.batch_norm = "matched"
    config.pretrained.images = 16  # training images that it is matched to
    # How the decoder of `segnet` begins: he (at random, as in the paper) or mirrored (the encoder's kernels, turned).
    config.pretrained.decoder = "he"
    # A local .safetensors or .caffemodel file; "" fetches the one below from the Hugging Face hub.
    config.pretrained.path = ""
    config.pretrained.repository = "timm/vgg16.tv_in1k"
    config.pretrained.file = "model.safetensors"
    config.pretrained.revision = "main"

    # Start from another run's network, and train a part of this one. Parameters are named as in conv4/kernel; regular
    # expressions are compared with whole names.
    config.transfer = ml_collections.ConfigDict()
    config.transfer.source = ""  # its work directory, or the folder or file of a saved network; "" starts anew
    config.transfer.checkpoint = "best"  # of a work directory: best, latest or a step
    config.transfer.fresh = ""  # regular expression of the parameters that are not taken from it
    config.transfer.same_classes = ()  # pairs of names: a class here, and what the source calls it
    config.transfer.trained = ".*"  # regular expression of the parameters that are trained,
    config.transfer.frozen = ""  # without those of this one; all others stay as they are

    # What is missing from training images, as they are normalised; it becomes 0.
    config.masking = ml_collections.ConfigDict()
    config.masking.pixels = (0.0, 0.0)  # smallest and greatest share of the pixels
    config.masking.block = 1  # pixels are missing in squares of this side
    config.masking.modality = 0.0  # probability that one of the modalities is missing

    config.loss = ml_collections.ConfigDict()
    # cross_entropy, focal, dice, lovasz or distillation, or a sum of them with weights, such as
    # "cross_entropy + 0.5 lovasz"
    config.loss.name = "cross_entropy"
    config.loss.label_smoothing = 0.0  # of cross_entropy: the share of a label that is spread over all classes
    config.loss.teachers = ()  # of distillation: work directories or saved networks
    config.loss.focal_gamma = 2.0  # of focal: the greater, the less do pixels count that are classified well
    # Of all but dice and lovasz: median_frequency, inverse_frequency, published_camvid, published_sunrgbd or none
    config.loss.class_weights = "median_frequency"
    config.loss.class_weight_power = 1.0  # tempers the weights: 0.5 takes their square roots
    config.loss.normalization = "pixels"  # pixels (the authors' code) or weights (a weighted mean)

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "constant"  # constant, poly, cosine or step
    config.optimizer.warmup = "0 steps"
    config.optimizer.cycles = 1  # times that the run goes through warm-up and schedule: warm restarts
    config.optimizer.poly_power = 0.9
    config.optimizer.step_every = "0 steps"
    config.optimizer.step_factor = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 5e-4  # of convolution kernels; their biases are spared
    config.optimizer.decay_scale = False  # whether BatchNorm's scales decay too, as in the authors' files
    config.optimizer.decay_shift = False  # whether its shifts do, as in their files of SegNet-Basic
    config.optimizer.bias_rate = 1.0  # factor of the learning rate of convolutions' biases; their files have 2
    config.optimizer.clip_norm = 0.0  # greatest global norm of the gradient; 0 leaves it as it is

    config.train = ml_collections.ConfigDict()
    config.train.procedure = "end_to_end"  # SGD of the whole network, or layerwise (the 2015 paper)
    config.train.duration = "100 epochs"
    config.train.batch_size = 12  # images per step, over all devices
    config.train.with_replacement = False  # whether batches are drawn at random, not each image once in an epoch
    config.train.accumulation_steps = 1  # microbatches of a batch, computed one after the other to save memory
    # The network that is evaluated has moving averages of the parameters, of this decay, such as 0.998; 0: has none.
    config.train.average_decay = 0.0
    config.train.log_every = "10 steps"
    config.train.eval_every = "10 epochs"  # the last step is always evaluated
    config.train.checkpoint_every = "1 epochs"  # besides every evaluation

    # For the procedure `layerwise`, for `segnet_flat`; a step is a mini-batch.
    config.layerwise = ml_collections.ConfigDict()
    config.layerwise.duration = "10 epochs"  # of each pair; takes the place of train.duration
    config.layerwise.iterations = 20  # of L-BFGS on each mini-batch
    config.layerwise.memory = 10  # earlier iterations that approximate the curvature
    # When the classifier is trained: first (by itself, before the pairs) or never (it stays random), as the paper has
    # it; joint (with the first pair), every (with every pair), last (by itself). At other times it stays as it is.
    config.layerwise.classifier = "first"
    config.layerwise.first_pair = 1  # the pairs before it are transfer.source's, and stay as they are
    config.layerwise.target = "labels"  # labels, or input: unsupervised, to reconstruct the images

    config.eval = ml_collections.ConfigDict()
    config.eval.batch_size = 4  # rounded up to a multiple of the devices
    config.eval.batch_norm = "running"  # running averages, or exact: a pass over the training set (the paper)
    config.eval.checkpoint = "best"  # of the modes that are not train: best, latest or a step
    config.eval.mixture = "first"  # of a mixture's data sets, the first is evaluated, or all
    config.eval.pictures = 6  # images of the sheet, spread over the split;
    config.eval.pictures_by_score = False  # or the best half of them and the worst, by the mean IoU of each image
    config.eval.per_image = False  # whether the report holds the scores of each image
    # Predictions are the mean over the image at these factors of its size, and over its mirror image if so wanted.
    config.eval.scales = (1.0,)
    config.eval.flip = False
    # Of the modes that are not train, for data of other classes than the network's: pairs of names, a class of the data
    # and one of the network. Classes of the data that are not named are void; () asks for the same classes.
    config.eval.class_map = ()
    # Passes with dropout on, whose mean is the prediction and whose variance its uncertainty (Bayesian SegNet); 0: one
    # pass without dropout. Training evaluates so too.
    config.eval.samples = 0
    # For --mode=missing: shares of the pixels that are missing, in squares of which side.
    config.eval.missing_pixels = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
    config.eval.missing_block = 1
    config.eval.top_features = (1, 5, 10)  # of --mode=ablation
    config.eval.single_features = 0  # of --mode=ablation: images on which each feature is studied by itself

    # A fully connected CRF after the network, in every evaluation and prediction. The values are DeepLab's.
    config.crf = ml_collections.ConfigDict()
    config.crf.enabled = False
    config.crf.iterations = 10
    config.crf.position_weight = 3.0  # of the Gaussian of the distance in the image; the greatest influence, in nats
    config.crf.position_std = 3.0  # in pixels
    config.crf.bilateral_weight = 5.0  # of the Gaussian of the distance in the image and in colour
    config.crf.bilateral_position_std = 50.0
    config.crf.bilateral_color_std = 10.0  # in steps of 8-bit colour
    return config
